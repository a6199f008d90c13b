// Package formats reads what local/firehose writes with readers of others, Apache
// Arrow's and Apache ORC's: what one library writes and reads by itself proves little.
package formats

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/local/firehose"
)

// python is an interpreter with pyarrow; make test-formats makes it.
var python = flag.String("python", "", "Python with what requirements.txt lists")

func TestMain(m *testing.M) {
	flag.Parse()
	if *python == "" {
		fmt.Println("tests/formats needs -python; use make test-formats")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// bucket keeps objects by key.
type bucket map[string][]byte

func (b bucket) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	body, err := io.ReadAll(in.Body)
	b[*in.Key] = body
	return &s3.PutObjectOutput{}, err
}

type catalog []firehose.Column

func (c catalog) Columns(context.Context, firehose.Table) ([]firehose.Column, error) { return c, nil }

// table has columns, each a name and a type.
func table(columns ...string) (all catalog) {
	for _, c := range columns {
		name, kind, _ := strings.Cut(c, " ")
		all = append(all, firehose.Column{Name: name, Type: kind})
	}
	return all
}

// delivered runs records through a delivery stream with a table of these columns and
// returns its objects.
func delivered(t *testing.T, columns catalog, serializer types.Serializer, records ...string) bucket {
	t.Helper()
	objects := bucket{}
	stream, err := firehose.New(&firehose.Description{
		DeliveryStreamName: aws.String("s"), DeliveryStreamARN: aws.String("arn:aws:firehose:eu-west-1:123456789012:deliverystream/s"),
		Destinations: []types.DestinationDescription{{ExtendedS3DestinationDescription: &types.ExtendedS3DestinationDescription{
			BucketARN: aws.String("arn:aws:s3:::b"), Prefix: aws.String("data/"), ErrorOutputPrefix: aws.String("errors/"),
			BufferingHints: &types.BufferingHints{SizeInMBs: aws.Int32(128), IntervalInSeconds: aws.Int32(300)},
			DataFormatConversionConfiguration: &types.DataFormatConversionConfiguration{
				SchemaConfiguration:       &types.SchemaConfiguration{DatabaseName: aws.String("db"), TableName: aws.String("t")},
				InputFormatConfiguration:  &types.InputFormatConfiguration{Deserializer: &types.Deserializer{OpenXJsonSerDe: &types.OpenXJsonSerDe{}}},
				OutputFormatConfiguration: &types.OutputFormatConfiguration{Serializer: &serializer},
			},
		}}},
	}, firehose.Options{S3: objects, Glue: columns, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := stream.Put(firehose.Record{Data: []byte(r)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	return objects
}

func parquet(p types.ParquetSerDe) types.Serializer { return types.Serializer{ParquetSerDe: &p} }

func orc(o types.OrcSerDe) types.Serializer { return types.Serializer{OrcSerDe: &o} }

// formats are the ways to write a file.
var formats = map[string]types.Serializer{
	"Parquet":          parquet(types.ParquetSerDe{}),
	"ORC":              orc(types.OrcSerDe{}),
	"ORC of Hive 0.11": orc(types.OrcSerDe{FormatVersion: types.OrcFormatVersionV011}),
}

// file is a file as Arrow reads it.
type file struct {
	Types       map[string]string
	Columns     []string
	Rows        []map[string]any
	Compression []string
	// An ORC file's version, how many stripes it has, how many rows were reached by its
	// index, what its statistics say of each column, and how many rows were read to find
	// those with one value.
	Version    string
	Stripes    int
	Sought     int
	Statistics map[string]map[string]any
	Pruned     map[string]int
}

// read is the only data object as Arrow reads it.
func read(t *testing.T, objects bucket) file {
	t.Helper()
	var found file
	n := 0
	for key, body := range objects {
		if !strings.HasPrefix(key, "data/") {
			continue
		}
		n++
		path := filepath.Join(t.TempDir(), "object"+filepath.Ext(key))
		if err := os.WriteFile(path, body, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(*python, "read.py", path)
		var problem bytes.Buffer
		cmd.Stderr = &problem
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, problem.String())
		}
		if err := json.Unmarshal(out, &found); err != nil {
			t.Fatal(err)
		}
	}
	if n != 1 {
		t.Fatalf("%d objects", n)
	}
	return found
}

func TestArrowReadsEveryType(t *testing.T) {
	columns := table(
		"z_first string", "b boolean", "i8 tinyint", "i16 smallint", "i32 int", "i64 bigint",
		"f float", "d double", "dec decimal(38,10)", "small decimal(4,2)", "c char(3)", "v varchar(9)",
		"day date", "at timestamp", "list array<int>", "map map<string,double>", "struct struct<a:int,b:struct<c:string>>", "deep array<struct<tags:array<string>,by:map<string,array<int>>>>",
		"1st int",
	)
	full := `{"z_first":"é\u0000","b":true,"i8":-128,"i16":32767,"i32":-2147483648,"i64":9223372036854775807,"f":1.5,"d":-2.25,
		"dec":"-1234567890123456789012345678.0123456789","small":99.995e-1,"c":"abcd","v":"x","day":"1969-12-31","at":"1969-12-31T23:59:58.999999999Z",
		"list":[1,null,3],"map":{"b":null,"a":0.5},"struct":{"a":7,"b":{"c":"x"}},
		"deep":[{"tags":["p",null],"by":{"k":[1,2]}},null,{"tags":[],"by":{}},{"by":{"m":[],"n":null,"o":[null]}}],"1st":1}`
	empty := `{"list":[],"map":{},"struct":{},"deep":[]}`
	want := []map[string]any{
		{
			"z_first": "é\x00", "b": true, "i8": -128.0, "i16": 32767.0, "i32": -2147483648.0, "i64": "9223372036854775807", "f": 1.5, "d": -2.25,
			"dec": "-1234567890123456789012345678.0123456789", "small": "10.00", "c": "abc", "v": "x", "day": "1969-12-31", "at": "1969-12-31 23:59:58.999999999",
			"list": []any{1.0, nil, 3.0}, "map": []any{[]any{"a", 0.5}, []any{"b", nil}}, "struct": map[string]any{"a": 7.0, "b": map[string]any{"c": "x"}},
			"deep": []any{
				map[string]any{"tags": []any{"p", nil}, "by": []any{[]any{"k", []any{1.0, 2.0}}}},
				nil,
				map[string]any{"tags": []any{}, "by": []any{}},
				map[string]any{"tags": nil, "by": []any{[]any{"m", []any{}}, []any{"n", nil}, []any{"o", []any{nil}}}},
			},
			"1st": 1.0,
		},
		{"list": []any{}, "map": []any{}, "struct": map[string]any{"a": nil, "b": nil}, "deep": []any{}},
		{},
	}
	for _, row := range want[1:] {
		for _, c := range columns {
			if _, there := row[c.Name]; !there {
				row[c.Name] = nil
			}
		}
	}
	for name, format := range formats {
		t.Run(name, func(t *testing.T) {
			got := read(t, delivered(t, columns, format, full, empty, `{}`))
			if diff := cmp.Diff(want, got.Rows); diff != "" {
				t.Errorf("rows (-written +read):\n%s", diff)
			}
			kinds := map[string]string{
				"z_first": "string", "b": "bool", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "f": "float", "d": "double",
				"dec": "decimal128(38, 10)", "small": "decimal128(4, 2)", "c": "string", "v": "string", "day": "date32[day]", "at": "timestamp[ns]",
				"list": "list<element: int32>", "map": "map<string, double ('map')>", "struct": "struct<a: int32, b: struct<c: string>>",
				"deep": "list<element: struct<tags: list<element: string>, by: map<string, list<element: int32> ('by')>>>", "1st": "int32",
			}
			if format.OrcSerDe != nil { // where only Arrow names what is in lists and maps
				for column, kind := range kinds {
					kinds[column] = strings.NewReplacer("element", "item", " ('map')", "", " ('by')", "").Replace(kind)
				}
			}
			if diff := cmp.Diff(kinds, got.Types); diff != "" {
				t.Errorf("types (-table +file):\n%s", diff)
			}
			for i, c := range columns {
				if got.Columns[i] != c.Name {
					t.Fatalf("the columns are in the order %v", got.Columns)
				}
			}
		})
	}
}

// What ORC's own writers do of it, too: char is padded, and the last second of 1969 is
// the first of 1970.
func TestWhatORCCannotHoldAsItIs(t *testing.T) {
	got := read(t, delivered(t, table("c char(4)", "at timestamp"), orc(types.OrcSerDe{}), `{"c":"é","at":"1969-12-31T23:59:59.5Z"}`, `{"at":"1969-12-31T23:59:59.000999Z"}`))
	want := []map[string]any{{"c": "é   ", "at": "1970-01-01 00:00:00.500000000"}, {"c": nil, "at": "1969-12-31 23:59:59.000999000"}}
	if diff := cmp.Diff(want, got.Rows); diff != "" {
		t.Error(diff)
	}
}

func TestArrowReadsEveryCompressionAndVersion(t *testing.T) {
	try := func(format types.Serializer, version, compression string) {
		got := read(t, delivered(t, table("a string", "l array<int>"), format, `{"a":"x","l":[1,2]}`, `{"a":"y"}`))
		if len(got.Rows) != 2 || got.Rows[0]["a"] != "x" || got.Rows[1]["l"] != nil || len(got.Compression) != 1 || got.Compression[0] != compression || got.Version != version {
			t.Errorf("%s %s: %+v", compression, version, got)
		}
	}
	for compression, want := range map[types.ParquetCompression]string{"": "SNAPPY", types.ParquetCompressionGzip: "GZIP", types.ParquetCompressionUncompressed: "UNCOMPRESSED"} {
		for _, version := range []types.ParquetWriterVersion{types.ParquetWriterVersionV1, types.ParquetWriterVersionV2} {
			try(parquet(types.ParquetSerDe{Compression: compression, WriterVersion: version}), "", want)
		}
	}
	for compression, want := range map[types.OrcCompression]string{"": "SNAPPY", types.OrcCompressionZlib: "ZLIB", types.OrcCompressionNone: "UNCOMPRESSED"} {
		for version, number := range map[types.OrcFormatVersion]string{"": "0.12", types.OrcFormatVersionV011: "0.11"} {
			try(orc(types.OrcSerDe{Compression: compression, FormatVersion: version}), number, want)
		}
	}
}

// A lap as a service has it: the columns of its struct, and the JSON that
// encoding/json writes of it.
type lap struct {
	Car     int16              `json:"car"`
	Driver  string             `json:"driverName"`
	At      time.Time          `json:"at"`
	Sectors []float64          `json:"sectors"`
	Tyres   map[string]float32 `json:"tyres"`
	Pit     *struct {
		Stops int `json:"stops"`
	} `json:"pit"`
}

func TestAStructsRecordsFitItsColumns(t *testing.T) {
	var columns catalog
	for _, c := range (spec.Schema{Row: lap{}}).Of() {
		columns = append(columns, firehose.Column{Name: c.Name, Type: c.Type})
	}
	random := rand.New(rand.NewPCG(1, 2))
	var records []string
	var laps []lap
	for range 5_000 {
		l := lap{Car: int16(random.IntN(100)), Driver: fmt.Sprint("driver ", random.IntN(20)), At: time.UnixMicro(random.Int64N(2e15)).UTC()}
		for range random.IntN(4) {
			l.Sectors = append(l.Sectors, random.Float64())
		}
		if random.IntN(2) == 0 {
			l.Tyres = map[string]float32{"fl": 1.5}
		}
		if random.IntN(3) == 0 {
			l.Pit = &struct {
				Stops int `json:"stops"`
			}{random.IntN(5)}
		}
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		records, laps = append(records, string(text)), append(laps, l)
	}
	for name, format := range formats {
		t.Run(name, func(t *testing.T) { compareLaps(t, laps, delivered(t, columns, format, records...)) })
	}
}

func compareLaps(t *testing.T, laps []lap, objects bucket) {
	t.Helper()
	if len(objects) != 1 {
		t.Fatalf("%d objects: some laps didn't fit", len(objects))
	}
	got := read(t, objects)
	if len(got.Rows) != len(laps) {
		t.Fatalf("%d rows", len(got.Rows))
	}
	for i, row := range got.Rows {
		l := laps[i]
		at, err := time.Parse("2006-01-02 15:04:05.999999999", row["at"].(string))
		if err != nil || !at.Equal(l.At) || row["car"] != float64(l.Car) || row["drivername"] != l.Driver {
			t.Fatalf("lap %d is %v, was %+v", i, row, l)
		}
		sectors, _ := row["sectors"].([]any)
		if len(sectors) != len(l.Sectors) || (row["tyres"] == nil) != (l.Tyres == nil) || (row["pit"] == nil) != (l.Pit == nil) {
			t.Fatalf("lap %d is %v, was %+v", i, row, l)
		}
		for j, s := range l.Sectors {
			if sectors[j] != s {
				t.Fatalf("lap %d is %v, was %+v", i, row, l)
			}
		}
		if l.Pit != nil && row["pit"].(map[string]any)["stops"] != float64(l.Pit.Stops) {
			t.Fatalf("lap %d is %v, was %+v", i, row, l)
		}
	}
}
