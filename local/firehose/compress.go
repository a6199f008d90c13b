package firehose

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
)

// codec is how objects are compressed: what their names end with, and the
// Content-Encoding that Firehose gives them.
type codec struct {
	extension, encoding string
	compress            func(name string, body []byte) ([]byte, error)
}

// codecs are the formats that Firehose knows. Its Snappy is the framing of
// snappy-java. AWS documents .hsnappy for Hadoop's, and was seen to write .snappy.
var codecs = map[types.CompressionFormat]codec{
	"":                                  {"", "", uncompressed},
	types.CompressionFormatUncompressed: {"", "", uncompressed},
	types.CompressionFormatGzip:         {".gz", "gzip", gzipped},
	types.CompressionFormatZip:          {".zip", "zip", zipped},
	types.CompressionFormatSnappy:       {".snappy", "snappy-java", snappyJava},
	types.CompressionFormatHadoopSnappy: {".snappy", "hadoop-snappy", hadoopSnappy},
}

func uncompressed(_ string, body []byte) ([]byte, error) { return body, nil }

var gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

func gzipped(_ string, body []byte) ([]byte, error) {
	var out bytes.Buffer
	out.Grow(len(body)/4 + 64)
	w := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(w)
	w.Reset(&out)
	if _, err := w.Write(body); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	return out.Bytes(), nil
}

func zipped(name string, body []byte) ([]byte, error) {
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	entry, err := archive.Create(name)
	if err != nil {
		return nil, fmt.Errorf("zip: %w", err)
	}
	if _, err := entry.Write(body); err != nil {
		return nil, fmt.Errorf("zip: %w", err)
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("zip: %w", err)
	}
	return out.Bytes(), nil
}

// The block sizes of snappy-java and of Hadoop.
const (
	snappyJavaBlock   = 32 << 10
	hadoopSnappyBlock = 256 << 10
)

// snappyJava is the magic, the version and the oldest version that can read it,
// then blocks, each with its compressed length before it.
func snappyJava(_ string, body []byte) ([]byte, error) {
	out := append(make([]byte, 0, len(body)/2+64), 0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1)
	for len(body) > 0 {
		n := min(len(body), snappyJavaBlock)
		out = snappyChunk(out, body[:n])
		body = body[n:]
	}
	return out, nil
}

// hadoopSnappy is blocks of one chunk: the block's own length, the chunk's
// compressed length, the chunk.
func hadoopSnappy(_ string, body []byte) ([]byte, error) {
	out := make([]byte, 0, len(body)/2+64)
	for len(body) > 0 {
		n := min(len(body), hadoopSnappyBlock)
		out = binary.BigEndian.AppendUint32(out, uint32(n))
		out = snappyChunk(out, body[:n])
		body = body[n:]
	}
	return out, nil
}

func snappyChunk(out, chunk []byte) []byte {
	packed := snappy.Encode(nil, chunk)
	return append(binary.BigEndian.AppendUint32(out, uint32(len(packed))), packed...)
}
