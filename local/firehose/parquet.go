package firehose

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/deprecated"

	"github.com/millrace/millrace/constructs/spec/hive"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// parquetFile is how Parquet files are written.
type parquetFile struct {
	codec   compress.Codec
	version int
	page    int // bytes
}

// codecsOfParquet are the compressions of Parquet that Firehose knows.
var codecsOfParquet = map[types.ParquetCompression]compress.Codec{
	"":                                   &parquet.Snappy,
	types.ParquetCompressionSnappy:       &parquet.Snappy,
	types.ParquetCompressionGzip:         &parquet.Gzip,
	types.ParquetCompressionUncompressed: &parquet.Uncompressed,
}

// parquet reads the settings of Parquet files, and which Content-Encoding they get.
func (r *reader) parquet(path string, p *types.ParquetSerDe) (file *parquetFile, encoding string) {
	file = &parquetFile{version: 1, page: 1 << 20}
	known := false
	if file.codec, known = codecsOfParquet[p.Compression]; !known {
		r.refuse("%s.Compression: %s isn't supported", path, p.Compression)
	}
	if p.Compression == "" || p.Compression == types.ParquetCompressionSnappy {
		// Nobody needs it to read the file; others recorded the service to set it.
		encoding = "hadoop-snappy"
	}
	if p.WriterVersion == types.ParquetWriterVersionV2 {
		file.version = 2
	}
	if p.PageSizeBytes != nil {
		file.page = int(*p.PageSizeBytes)
	}
	return file, encoding
}

func (*parquetFile) extension() string { return ".parquet" }

// write makes a Parquet file of rows.
func (p *parquetFile) write(columns []column, rows [][]any) ([]byte, error) {
	schema := parquet.NewSchema("hive_schema", group(columns))
	leaves := len(schema.Columns())
	var out bytes.Buffer
	w := parquet.NewGenericWriter[any](&out, schema, parquet.Compression(p.codec), parquet.DataPageVersion(p.version), parquet.PageBufferSize(p.page))
	for _, row := range rows {
		s := shredder{columns: make([][]parquet.Value, leaves)}
		at := 0
		for i := range columns {
			at = s.put(&columns[i].kind, row[i], levels{}, at)
		}
		var all parquet.Row
		for _, values := range s.columns {
			all = append(all, values...)
		}
		if _, err := w.WriteRows([]parquet.Row{all}); err != nil {
			return nil, fmt.Errorf("parquet: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	return out.Bytes(), nil
}

// ordered is a group that keeps the order of its fields, which the library sorts.
type ordered struct {
	parquet.Group
	names []string
}

// Fields are the group's, in the order of the columns.
func (o ordered) Fields() []parquet.Field {
	fields := o.Group.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int {
		return slices.Index(o.names, a.Name()) - slices.Index(o.names, b.Name())
	})
	return fields
}

func group(columns []column) ordered {
	g := ordered{Group: parquet.Group{}}
	for i := range columns {
		g.names = append(g.names, columns[i].name)
		g.Group[columns[i].name] = parquet.Optional(node(&columns[i].kind))
	}
	return g
}

// node is a type in Parquet's terms, as Hive writes it.
func node(t *hive.Type) parquet.Node {
	switch t.Kind {
	case hive.Boolean:
		return parquet.Leaf(parquet.BooleanType)
	case hive.TinyInt:
		return parquet.Int(8)
	case hive.SmallInt:
		return parquet.Int(16)
	case hive.Int:
		return parquet.Leaf(parquet.Int32Type)
	case hive.BigInt:
		return parquet.Leaf(parquet.Int64Type)
	case hive.Float:
		return parquet.Leaf(parquet.FloatType)
	case hive.Double:
		return parquet.Leaf(parquet.DoubleType)
	case hive.Decimal:
		return parquet.Decimal(t.Scale, t.Precision, parquet.FixedLenByteArrayType(decimalBytes(t.Precision)))
	case hive.Date:
		return parquet.Date()
	case hive.Timestamp:
		return parquet.Leaf(parquet.Int96Type)
	case hive.Array:
		return parquet.List(parquet.Optional(node(t.Elem)))
	case hive.Map:
		return parquet.Map(node(t.Key), parquet.Optional(node(t.Elem)))
	case hive.Struct:
		return group(fieldsOf(t))
	}
	return parquet.String()
}

// decimalBytes is how many bytes hold any number of so many digits.
func decimalBytes(precision int) int {
	most := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(precision)), nil)
	return most.BitLen()/8 + 1
}

// shredder takes a row apart into its columns, as Dremel does.
type shredder struct{ columns [][]parquet.Value }

// levels are where a value stands: repetition is the list that it goes on with,
// definition how much of its path is there, lists how many lists it is in.
type levels struct{ repetition, definition, lists int }

// entry are the levels of the i-th entry of a list at l.
func (l levels) entry(i int) levels {
	l.definition++ // the list is there
	l.lists++
	if i > 0 {
		l.repetition = l.lists
	}
	return l
}

// put appends a value from column at on, and returns the next column.
func (s *shredder) put(t *hive.Type, v any, l levels, at int) int {
	if v == nil {
		return s.absent(t, l, at)
	}
	here := l
	here.definition++
	switch t.Kind {
	case hive.Struct:
		for i, value := range v.([]any) {
			at = s.put(&t.Fields[i].Type, value, here, at)
		}
		return at
	case hive.Array:
		list := v.([]any)
		if len(list) == 0 {
			return s.absent(t, here, at)
		}
		next := at
		for i, elem := range list {
			next = s.put(t.Elem, elem, here.entry(i), at)
		}
		return next
	case hive.Map:
		pairs := v.([]pair)
		if len(pairs) == 0 {
			return s.absent(t, here, at)
		}
		next := at
		for i, p := range pairs {
			entry := here.entry(i)
			s.add(leaf(t.Key, p[0]), entry, at) // required: it has no level of its own
			next = s.put(t.Elem, p[1], entry, at+1)
		}
		return next
	}
	s.add(leaf(t, v), here, at)
	return at + 1
}

// absent appends null to all columns of a type.
func (s *shredder) absent(t *hive.Type, l levels, at int) int {
	switch t.Kind {
	case hive.Struct:
		for i := range t.Fields {
			at = s.absent(&t.Fields[i].Type, l, at)
		}
		return at
	case hive.Array:
		return s.absent(t.Elem, l, at)
	case hive.Map:
		return s.absent(t.Elem, l, s.absent(t.Key, l, at))
	}
	s.add(parquet.NullValue(), l, at)
	return at + 1
}

func (s *shredder) add(v parquet.Value, l levels, at int) {
	s.columns[at] = append(s.columns[at], v.Level(l.repetition, l.definition, at))
}

// leaf is a value of a column.
func leaf(t *hive.Type, v any) parquet.Value {
	switch v := v.(type) {
	case *big.Int:
		return parquet.FixedLenByteArrayValue(twosComplement(v, decimalBytes(t.Precision)))
	case time.Time:
		return parquet.Int96Value(int96(v))
	}
	return parquet.ValueOf(v)
}

func twosComplement(n *big.Int, size int) []byte {
	if n.Sign() < 0 {
		n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
	}
	return n.FillBytes(make([]byte, size))
}

// julian is the Julian day of 1970-01-01.
const julian = 2_440_588

// int96 is a time as Hive, Impala and Athena have it: nanoseconds of the day, day.
func int96(t time.Time) deprecated.Int96 {
	seconds := t.Unix()
	day := seconds / 86_400
	if seconds%86_400 < 0 {
		day--
	}
	var b [12]byte
	binary.LittleEndian.PutUint64(b[:], uint64((seconds-day*86_400)*1e9+int64(t.Nanosecond())))
	binary.LittleEndian.PutUint32(b[8:], uint32(day+julian))
	return deprecated.Int96{binary.LittleEndian.Uint32(b[:]), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])}
}
