package firehose

import (
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/millrace/millrace/constructs/spec/hive"
	"github.com/millrace/millrace/local/firehose/internal/orc"
)

// Records of some 130 bytes as rows of a file, 10,000 at a time.
func BenchmarkConversion(b *testing.B) {
	b.Run("Parquet", func(b *testing.B) {
		benchmarkConversion(b, &parquetFile{codec: &parquet.Snappy, version: 1, page: 1 << 20})
	})
	b.Run("ORC", func(b *testing.B) {
		benchmarkConversion(b, &orcFile{Compression: orc.Snappy, StripeSize: 64 << 20, RowIndexStride: 10_000})
	})
}

func benchmarkConversion(b *testing.B, file format) {
	record := []byte(`{"car":7,"driver":"someone with a name","at":"2026-03-04T05:06:07.891Z","sectors":[31.25,30.5,29.75],"speed":301.5,"lap":42}`)
	var columns []column
	for _, c := range [][2]string{{"car", "int"}, {"driver", "string"}, {"at", "timestamp"}, {"sectors", "array<double>"}, {"speed", "double"}, {"lap", "bigint"}} {
		kind, err := hive.Parse(c[1])
		if err != nil {
			b.Fatal(err)
		}
		columns = append(columns, column{name: c[0], key: c[0], kind: kind})
	}
	const rows = 10_000
	b.SetBytes(rows * int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		s := serde{}
		var all [][]any
		for range rows {
			found, err := s.rows(columns, record)
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, found...)
		}
		if _, err := file.write(columns, all); err != nil {
			b.Fatal(err)
		}
	}
}
