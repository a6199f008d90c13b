package firehose

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/constructs/spec/hive"
	"github.com/millrace/millrace/local/firehose/internal/orc"
)

// orcFile is how ORC files are written.
type orcFile orc.Options

// compressionsOfORC are those that Firehose knows.
var compressionsOfORC = map[types.OrcCompression]orc.Compression{
	"":                         orc.Snappy,
	types.OrcCompressionSnappy: orc.Snappy,
	types.OrcCompressionZlib:   orc.ZLIB,
	types.OrcCompressionNone:   orc.None,
}

// orc reads the settings of ORC files. Bloom filters, which only save reading, aren't
// written; padding is for HDFS.
func (r *reader) orc(path string, x *types.OrcSerDe) *orcFile {
	file := &orcFile{Old: x.FormatVersion == types.OrcFormatVersionV011, StripeSize: 64 << 20, RowIndexStride: 10_000}
	known := false
	if file.Compression, known = compressionsOfORC[x.Compression]; !known {
		r.refuse("%s.Compression: %s isn't supported", path, x.Compression)
	}
	if v := x.FormatVersion; v != "" && v != types.OrcFormatVersionV011 && v != types.OrcFormatVersionV012 {
		r.refuse("%s.FormatVersion: %s isn't supported", path, v)
	}
	if n := x.StripeSizeBytes; n != nil {
		if file.StripeSize = int(*n); file.StripeSize < spec.ORCStripeSize.Min<<20 {
			r.refuse("%s.StripeSizeBytes: it is %d, the least is %d", path, *n, spec.ORCStripeSize.Min<<20)
		}
	}
	if n := x.RowIndexStride; n != nil {
		if file.RowIndexStride = int(*n); file.RowIndexStride < spec.ORCRowIndexStride.Min {
			r.refuse("%s.RowIndexStride: it is %d, the least is %d", path, *n, spec.ORCRowIndexStride.Min)
		}
	}
	if f := aws.ToFloat64(x.DictionaryKeyThreshold); f >= 0 && f <= 1 {
		file.DictionaryKeyThreshold = f
	} else {
		r.refuse("%s.DictionaryKeyThreshold: it is %v, the range is 0 to 1", path, f)
	}
	return file
}

func (*orcFile) extension() string { return ".orc" }

// write makes an ORC file of rows.
func (o *orcFile) write(columns []column, rows [][]any) ([]byte, error) {
	fields := make([]hive.Field, len(columns))
	for i, c := range columns {
		fields[i] = hive.Field{Name: c.name, Type: c.kind}
	}
	return orc.Encode(fields, rows, orc.Options(*o)), nil
}
