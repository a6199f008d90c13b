package formats

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/spec/hive"
)

// drawn makes tables and records from a seed.
type drawn struct {
	*rand.Rand
	row int
}

// kind draws a type. A char isn't among them: ORC pads it and Parquet doesn't.
func (d *drawn) kind(depth int) string {
	scalars := []string{"boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "decimal(9,2)", "decimal(38,10)", "string", "varchar(5)", "date", "timestamp"}
	if depth == 0 || d.IntN(3) > 0 {
		return scalars[d.IntN(len(scalars))]
	}
	switch d.IntN(3) {
	case 0:
		return "array<" + d.kind(depth-1) + ">"
	case 1:
		return "map<string," + d.kind(depth-1) + ">"
	default:
		return "struct<a:" + d.kind(depth-1) + ",b:" + d.kind(depth-1) + ">"
	}
}

// number draws one of so many bits: stretches of the same, of steps and of any.
func (d *drawn) number(bits int) int64 {
	switch d.row / 50 % 4 {
	case 0:
		return 42
	case 1:
		return int64(d.row%50)*2 - 50
	case 2:
		return int64(d.Uint64()) >> (64 - bits + d.IntN(bits))
	}
	return int64(d.Uint64()) >> (64 - bits)
}

// value draws one for JSON, or null.
func (d *drawn) value(t *hive.Type) any {
	if d.row/100%3 == 1 && d.IntN(3) == 0 || d.row/100%7 == 2 {
		return nil
	}
	switch t.Kind {
	case hive.Boolean:
		return d.IntN(5) == 0
	case hive.TinyInt:
		return d.number(8)
	case hive.SmallInt:
		return d.number(16)
	case hive.Int:
		return d.number(32)
	case hive.BigInt:
		return d.number(64)
	case hive.Float:
		return d.Float32() - 0.5
	case hive.Double:
		return d.NormFloat64() * 1e9
	case hive.Decimal:
		digits := fmt.Sprintf("%d%d", 1+d.Int64N(9), d.Uint64())
		return fmt.Sprintf("%d.%s", d.IntN(2_000_000)-1_000_000, digits[:t.Scale])
	case hive.Date:
		return time.Unix(0, 0).UTC().AddDate(0, 0, d.IntN(200_000)-100_000).Format(time.DateOnly)
	case hive.Timestamp:
		at := time.UnixMicro(d.Int64N(6e15) - 2e15) // 1906 to 2096
		return at.UTC().Truncate([]time.Duration{time.Microsecond, time.Millisecond, time.Second}[d.IntN(3)]).Format("2006-01-02T15:04:05.999999Z")
	case hive.Array:
		list := make([]any, d.IntN(4))
		for i := range list {
			list[i] = d.value(t.Elem)
		}
		return list
	case hive.Map:
		object := map[string]any{}
		for range d.IntN(4) {
			object[fmt.Sprint("k", d.IntN(5))] = d.value(t.Elem)
		}
		return object
	case hive.Struct:
		object := map[string]any{}
		for i := range t.Fields {
			object[t.Fields[i].Name] = d.value(&t.Fields[i].Type)
		}
		return object
	}
	return strings.Repeat("é", d.IntN(4)) + fmt.Sprint(d.IntN(30))
}

// Two writers that have nothing in common but the rows.
func TestArrowReadsOfORCWhatItReadsOfParquet(t *testing.T) {
	seed := uint64(0)
	for _, version := range []types.OrcFormatVersion{types.OrcFormatVersionV011, types.OrcFormatVersionV012} {
		for _, compression := range []types.OrcCompression{types.OrcCompressionNone, types.OrcCompressionZlib, types.OrcCompressionSnappy} {
			for _, dictionary := range []float64{0, 0.5} {
				seed++
				t.Run(fmt.Sprint(version, compression, dictionary), func(t *testing.T) {
					d := &drawn{Rand: rand.New(rand.NewPCG(seed, 0))}
					var columns catalog
					kinds := map[string]hive.Type{}
					for i := range 12 {
						name := fmt.Sprint("c", i)
						columns = append(columns, table(name+" "+d.kind(3))...)
						kind, err := hive.Parse(columns[i].Type)
						if err != nil {
							t.Fatal(err)
						}
						kinds[name] = kind
					}
					var records []string
					for d.row = range 2_500 {
						record := map[string]any{}
						for _, c := range columns {
							kind := kinds[c.Name]
							record[c.Name] = d.value(&kind)
						}
						text, err := json.Marshal(record)
						if err != nil {
							t.Fatal(err)
						}
						records = append(records, string(text))
					}
					format := orc(types.OrcSerDe{FormatVersion: version, Compression: compression, DictionaryKeyThreshold: &dictionary, RowIndexStride: aws.Int32(1_000)})
					got, want := read(t, delivered(t, columns, format, records...)).Rows, read(t, delivered(t, columns, parquet(types.ParquetSerDe{}), records...)).Rows
					if len(got) != len(records) || len(want) != len(records) {
						t.Fatalf("%v: of %d rows are %d in ORC, %d in Parquet", columns, len(records), len(got), len(want))
					}
					for i := range want {
						if !reflect.DeepEqual(got[i], want[i]) {
							t.Fatalf("%v: row %d, seed %d (-Parquet +ORC):\n%s", columns, i, seed, cmp.Diff(want[i], got[i]))
						}
					}
				})
			}
		}
	}
}

func TestReadersSkipWhatTheyNeedNot(t *testing.T) {
	var records []string
	for i := range 5_000 {
		records = append(records, fmt.Sprintf(`{"seq":%d,"half":%s,"late":%s,"at":"2026-03-04T05:06:%02d.25Z","day":"2026-03-%02d","price":%d.5,"pad":%q}`,
			i, map[bool]string{true: "0.5", false: "null"}[i%2 == 0], map[bool]string{true: "7", false: "null"}[i > 0], i/100, 1+i/1_000, i-3, strings.Repeat(fmt.Sprint(i), 4_096)[:4_096]))
	}
	format := orc(types.OrcSerDe{StripeSizeBytes: aws.Int32(8 << 20), RowIndexStride: aws.Int32(1_000)})
	got := read(t, delivered(t, table("seq int", "half double", "late int", "at timestamp", "day date", "price decimal(9,1)", "pad string"), format, records...))
	if got.Stripes != 3 || len(got.Rows) != 5_000 {
		t.Errorf("%d stripes, %d rows", got.Stripes, len(got.Rows))
	}
	for i, row := range got.Rows {
		if pad := row["pad"].(string); row["seq"] != float64(i) || len(pad) != 4_096 || !strings.HasPrefix(pad, fmt.Sprint(i)) {
			t.Fatalf("row %d is %v", i, row)
		}
	}
	if got.Sought != 15 {
		t.Errorf("%d of 15 rows were reached by the index", got.Sought)
	}
	for column, want := range map[string]map[string]any{
		"seq":   {"minimum": 0.0, "maximum": 4_999.0, "number_of_values": 5_000.0, "has_null": false},
		"half":  {"minimum": 0.5, "maximum": 0.5, "sum": 1_250.0, "number_of_values": 2_500.0, "has_null": true},
		"late":  {"minimum": 7.0, "maximum": 7.0, "number_of_values": 4_999.0, "has_null": true},
		"day":   {"minimum": "2026-03-01", "maximum": "2026-03-05", "number_of_values": 5_000.0, "has_null": false},
		"price": {"minimum": "-3.5", "maximum": "4996.5", "number_of_values": 5_000.0, "has_null": false},
	} {
		if diff := cmp.Diff(want, got.Statistics[column]); diff != "" {
			t.Errorf("statistics of %s: %s", column, diff)
		}
	}
	for _, column := range []string{"seq", "at", "price"} {
		if n := got.Pruned[column]; n > 1_000 {
			t.Errorf("%d rows were read to find one %s", n, column)
		}
	}
}
