package firehose

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/millrace/millrace/constructs/spec/hive"
	"github.com/millrace/millrace/local/firehose/internal/orc"
)

// tables is a catalog: the columns of versions of one table, "name type" each.
type tables map[string][]string

func (t tables) Columns(_ context.Context, of Table) ([]Column, error) {
	if t["down"] != nil {
		return nil, errors.New("the catalog is down")
	}
	columns, found := t[of.Version]
	if !found || of.Database != "db" || of.Name != "t" || of.CatalogID != "123456789012" {
		return nil, ErrNoTable
	}
	var all []Column
	for _, c := range columns {
		name, kind, _ := strings.Cut(c, " ")
		all = append(all, Column{name, kind})
	}
	return all, nil
}

// converting is a delivery stream that makes Parquet files, with some changes.
func converting(change func(*types.DataFormatConversionConfiguration, *types.ExtendedS3DestinationDescription)) *Description {
	return described(func(x *types.ExtendedS3DestinationDescription) {
		x.BufferingHints.SizeInMBs = aws.Int32(64)
		x.Prefix, x.ErrorOutputPrefix = aws.String("data/"), aws.String("errors/")
		x.DataFormatConversionConfiguration = &types.DataFormatConversionConfiguration{
			SchemaConfiguration:       &types.SchemaConfiguration{DatabaseName: aws.String("db"), TableName: aws.String("t"), RoleARN: aws.String("arn:role")},
			InputFormatConfiguration:  &types.InputFormatConfiguration{Deserializer: &types.Deserializer{OpenXJsonSerDe: &types.OpenXJsonSerDe{}}},
			OutputFormatConfiguration: &types.OutputFormatConfiguration{Serializer: &types.Serializer{ParquetSerDe: &types.ParquetSerDe{}}},
		}
		if change != nil {
			change(x.DataFormatConversionConfiguration, x)
		}
	})
}

const hourPrefix = "2026/03/04/05/s-3-2026-03-04-05-06-07-"

// rowsOf reads a Parquet file's columns back.
func rowsOf(t *testing.T, body string) (columns []string, rows []map[string]any) {
	t.Helper()
	f, err := parquet.OpenFile(strings.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range f.Schema().Columns() {
		columns = append(columns, strings.Join(path, "."))
	}
	r := parquet.NewGenericReader[any](f)
	defer r.Close()
	for range f.NumRows() {
		out := make([]any, 1)
		if _, err := r.Read(out); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		rows = append(rows, out[0].(map[string]any))
	}
	return columns, rows
}

func TestRecordsBecomeRowsAndTheRestErrorDocuments(t *testing.T) {
	b := start(t, fromKinesis(converting(nil)), Options{Glue: tables{latest: {"price double", "car int", "name string"}}})
	at := func(n string) *Position { return &Position{ShardID: "shard", PartitionKey: "p", SequenceNumber: n} }
	for i, data := range []string{
		`{"Price":1.5,"CAR":7,"name":"a","other":1}`,
		`{"price":"oops"}`,
		`not json`,
		` `,
		`3`,
		`[{"car":1}]`,
		`{"car":8}{"car":9}`,
	} {
		if err := b.Add(Record{Data: []byte(data), Kinesis: at(string(rune('0' + i)))}); err != nil {
			t.Fatal(err)
		}
	}
	b.after(time.Minute)
	key := "b/data/" + hourPrefix + id(1) + ".parquet"
	o, there := b.s3.objects[key]
	if !there {
		t.Fatalf("objects %v", b.s3.keys())
	}
	if o.encoding != "hadoop-snappy" {
		t.Errorf("encoding %q", o.encoding)
	}
	columns, rows := rowsOf(t, o.body)
	if diff := cmp.Diff([]string{"price", "car", "name"}, columns); diff != "" {
		t.Errorf("the columns aren't in the table's order: %s", diff)
	}
	want := []map[string]any{
		{"price": 1.5, "car": int32(7), "name": "a"},
		{"price": nil, "car": int32(8), "name": nil},
		{"price": nil, "car": int32(9), "name": nil},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}
	if st := b.Stats(); st.Delivered != 2 || st.Buffered != 5 || st.Failed != 0 {
		t.Errorf("stats %+v", st)
	}

	b.after(time.Minute) // the failures' own buffer
	var got []conversionDocument
	for key, o := range b.s3.objects {
		if !strings.HasPrefix(key, "b/errors/format-conversion-failed/") {
			continue
		}
		for _, line := range strings.Split(strings.TrimSpace(o.body), "\n") {
			var d conversionDocument
			dec := json.NewDecoder(strings.NewReader(line))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&d); err != nil {
				t.Fatalf("%v\n%s", err, line)
			}
			got = append(got, d)
		}
	}
	if len(got) != 5 {
		t.Fatalf("%d documents in %v", len(got), b.s3.keys())
	}
	for i, w := range []struct{ raw, sequence, code, message string }{
		{`{"price":"oops"}`, "1", "DataFormatConversion.MalformedData", `Data does not match the schema. For input string: "oops"`},
		{`not json`, "2", "DataFormatConversion.ParseError", "Encountered malformed JSON. "},
		{` `, "3", "DataFormatConversion.MalformedData", "The record was empty"},
		{`3`, "4", "DataFormatConversion.MalformedData", "The input JSON contained a primitive"},
		{`[{"car":1}]`, "5", "DataFormatConversion.MalformedData", "Data does not match the schema. "},
	} {
		d := got[i]
		raw, _ := base64.StdEncoding.DecodeString(d.RawData)
		if string(raw) != w.raw || d.SequenceNumber != w.sequence || d.LastErrorCode != w.code || !strings.HasPrefix(d.LastErrorMessage, w.message) ||
			d.AttemptsMade != 1 || d.ArrivalTimestamp != began.UnixMilli() || d.AttemptEndingTimestamp != began.Add(time.Minute).UnixMilli() {
			t.Errorf("%s: %+v", w.raw, d)
		}
		if diff := cmp.Diff(&catalogTable{"123456789012", "db", "t", "eu-west-1", "LATEST", "arn:role"}, d.DataCatalogTable); diff != "" {
			t.Error(diff)
		}
	}
	b.balanced()
	if st := b.Stats(); st.Failed != 5 || st.Objects != 2 || st.BufferedBytes != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestFilesAreNamedByTheirFormatUnlessAnExtensionIsSet(t *testing.T) {
	for extension, want := range map[string]string{"": ".orc", ".x": ".x"} {
		b := start(t, converting(func(c *types.DataFormatConversionConfiguration, x *types.ExtendedS3DestinationDescription) {
			c.OutputFormatConfiguration.Serializer = &types.Serializer{OrcSerDe: &types.OrcSerDe{}}
			x.FileExtension = aws.String(extension)
		}), Options{Glue: tables{latest: {"a int"}}})
		b.add(`{"a":1}`)
		b.after(time.Minute)
		o := b.s3.objects["b/data/"+hourPrefix+id(1)+want]
		if !strings.HasPrefix(o.body, "ORC") || o.encoding != "" {
			t.Errorf("%q: objects %v, encoding %q", extension, b.s3.keys(), o.encoding)
		}
	}
}

func TestATablesNewColumnsAreUsedAtOnceAndAVersionStays(t *testing.T) {
	catalog := tables{latest: {"a int"}, "1": {"b int"}}
	for version, want := range map[string]string{"": "a", latest: "a", "1": "b"} {
		b := start(t, converting(func(c *types.DataFormatConversionConfiguration, _ *types.ExtendedS3DestinationDescription) {
			c.SchemaConfiguration.VersionId = aws.String(version)
		}), Options{Glue: catalog})
		b.add(`{"a":1,"b":2}`)
		b.after(time.Minute)
		if columns, _ := rowsOf(t, b.s3.objects[b.s3.keys()[0]].body); len(columns) != 1 || columns[0] != want {
			t.Errorf("version %q: columns %v", version, columns)
		}
	}
	b := start(t, converting(nil), Options{Glue: catalog})
	b.add(`{}`)
	b.after(time.Minute)
	catalog[latest] = []string{"a int", "c int"}
	b.add(`{"c":3}`)
	b.after(time.Minute)
	if columns, _ := rowsOf(t, b.s3.objects["b/data/2026/03/04/05/s-3-2026-03-04-05-07-07-"+id(2)+".parquet"].body); len(columns) != 2 {
		t.Errorf("columns %v", columns)
	}
}

func TestWhileTheCatalogIsDownRecordsWaitAndWithoutATableTheyFail(t *testing.T) {
	catalog := tables{"down": {}, latest: {"a int"}}
	b := start(t, converting(nil), Options{Glue: catalog})
	b.add(`{"a":1}`)
	b.after(time.Minute)
	if st := b.Stats(); st.Buffered != 1 || !strings.Contains(st.LastError, "the catalog is down") {
		t.Fatalf("stats %+v", st)
	}
	delete(catalog, "down")
	b.after(time.Minute)
	if st := b.Stats(); st.Delivered != 1 {
		t.Fatalf("stats %+v", st)
	}
	for name, c := range map[string]struct {
		catalog tables
		code    string
	}{
		"no table":                {tables{}, "DataFormatConversion.EntityNotFound"},
		"a table without columns": {tables{latest: {}}, "DataFormatConversion.InvalidSchema"},
		"a type of no table":      {tables{latest: {"a uniontype<int>"}}, "DataFormatConversion.InvalidSchema"},
		"bytes inside":            {tables{latest: {"a map<string,array<struct<b:binary>>>"}}, "DataFormatConversion.InvalidSchema"},
	} {
		b := start(t, converting(nil), Options{Glue: c.catalog})
		b.add(`{"a":1}`)
		b.after(time.Minute)
		b.after(time.Minute)
		for key, o := range b.s3.objects {
			if !strings.HasPrefix(key, "b/errors/format-conversion-failed/") || !strings.Contains(o.body, c.code) {
				t.Errorf("%s: %s: %s", name, key, o.body)
			}
		}
		if st := b.Stats(); st.Failed != 1 || st.Objects != 1 {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// Firehose puts a failed file again; what couldn't be converted isn't written twice.
func TestAFailedPutOfAFileIsRepeated(t *testing.T) {
	s3 := newS3(errors.New("503"))
	b := start(t, converting(nil), Options{S3: s3, Glue: tables{latest: {"a int"}}})
	b.s3 = s3
	b.add(`{"a":1}`, `{"a":"x"}`)
	b.after(time.Minute)
	b.after(time.Minute)
	b.after(time.Minute)
	if st := b.Stats(); st.Delivered != 1 || st.Failed != 1 || st.Objects != 2 {
		t.Errorf("stats %+v, objects %v", st, b.s3.keys())
	}
	b.balanced()
}

func TestDeserializersTakeTheseValues(t *testing.T) {
	hiveFormats := func(patterns ...string) serde {
		s := serde{hive: true}
		for _, p := range patterns {
			layout, err := jodaLayout(p)
			if err != nil {
				t.Fatal(err)
			}
			s.layouts = append(s.layouts, layout)
		}
		return s
	}
	at := func(text string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for name, c := range map[string]struct {
		serde       serde
		kind, value string
		want        any // nil: it doesn't fit
	}{
		"a boolean":                    {serde{}, "boolean", `true`, true},
		"a boolean as text":            {serde{}, "boolean", `"FALSE"`, false},
		"a number as boolean":          {serde{}, "boolean", `1`, nil},
		"a list as boolean":            {serde{}, "boolean", `[true]`, nil},
		"a small number":               {serde{}, "tinyint", `-128`, int32(-128)},
		"a number too large":           {serde{}, "tinyint", `128`, nil},
		"a number of 16 bits":          {serde{}, "smallint", `32767`, int32(32767)},
		"a number as text":             {serde{}, "int", `" 42 "`, int32(42)},
		"a fraction as int":            {serde{}, "int", `1.5`, nil},
		"the largest number":           {serde{}, "bigint", `9223372036854775807`, int64(9223372036854775807)},
		"a number beyond":              {serde{}, "bigint", `9223372036854775808`, nil},
		"a float":                      {serde{}, "float", `0.5`, float32(0.5)},
		"a float beyond":               {serde{}, "float", `1e39`, nil},
		"a double":                     {serde{}, "double", `"1e39"`, 1e39},
		"not a number":                 {serde{}, "double", `"NaN"`, nil},
		"a decimal":                    {serde{}, "decimal(5,2)", `12.345`, "1235"},
		"a negative decimal":           {serde{}, "decimal(5,2)", `-12.345`, "-1235"},
		"a decimal as text":            {serde{}, "decimal(5,2)", `"1e2"`, "10000"},
		"a decimal too large":          {serde{}, "decimal(5,2)", `1000`, nil},
		"a decimal that rounds beyond": {serde{}, "decimal(5,2)", `999.995`, nil},
		"a decimal without end":        {serde{}, "decimal(5,2)", `1e999999999`, nil},
		"a fraction of a decimal":      {serde{}, "decimal(5,2)", `"1/3"`, nil},
		"a hexadecimal":                {serde{}, "decimal(5,2)", `"0x10"`, nil},
		"text":                         {serde{}, "string", `"é"`, "é"},
		"a number as it stands":        {serde{}, "string", `1.50`, "1.50"},
		"an object as text":            {serde{}, "string", `{"a":"<"}`, `{"a":"<"}`},
		"a long text":                  {serde{}, "varchar(3)", `"abcdé"`, "abc"},
		"a padded text":                {serde{}, "char(4)", `"ab  "`, "ab"},
		"a date":                       {serde{}, "date", `"1970-1-2"`, int32(1)},
		"a date before":                {serde{}, "date", `"1969-12-31"`, int32(-1)},
		"no date":                      {serde{}, "date", `"1970-02-30"`, nil},
		"a time":                       {serde{}, "timestamp", `"2017-02-07T15:13:01.39256Z"`, at("2017-02-07T15:13:01.39256Z")},
		"a time without its zone":      {serde{}, "timestamp", `"2017-02-07T15:13:01"`, at("2017-02-07T15:13:01Z")},
		"a time with an offset":        {serde{}, "timestamp", `"2017-02-07T15:13:01+01:00"`, nil},
		"a careless T":                 {serde{}, "timestamp", `"2026-9-7T12:00:02Z"`, nil},
		"a careless space":             {serde{}, "timestamp", `"2026-9-7 1:2:3.5"`, at("2026-09-07T01:02:03.5Z")},
		"an hour of 25":                {serde{}, "timestamp", `"2026-09-07 25:00:00"`, nil},
		"seconds":                      {serde{}, "timestamp", `1518033528`, at("2018-02-07T19:58:48Z")},
		"milliseconds as text":         {serde{}, "timestamp", `"1518033528123"`, at("2018-02-07T19:58:48.123Z")},
		"seconds with a point":         {serde{}, "timestamp", `1518033528.123`, at("2018-02-07T19:58:48.123Z")},
		"a time beyond":                {serde{}, "timestamp", `1e300`, nil},
		"Hive's own timestamp":         {hiveFormats(), "timestamp", `"2018-02-07 19:58:48.1"`, at("2018-02-07T19:58:48.1Z")},
		"seconds, for Hive":            {hiveFormats(), "timestamp", `1518033528`, nil},
		"Hive's milliseconds":          {hiveFormats("millis"), "timestamp", `1518033528123`, at("2018-02-07T19:58:48.123Z")},
		"Hive's format":                {hiveFormats("yyyy-MM-dd'T'HH:mm:ss.SSSZ"), "timestamp", `"2018-02-07T20:58:48.123+0100"`, at("2018-02-07T19:58:48.123Z")},
		"Hive's second format":         {hiveFormats("millis", "d MMM yyyy h:mm a"), "timestamp", `"7 Feb 2018 7:58 PM"`, at("2018-02-07T19:58:00Z")},
		"a list":                       {serde{}, "array<int>", `[1,null,3]`, []any{int32(1), nil, int32(3)}},
		"a list of something else":     {serde{}, "array<int>", `["x"]`, nil},
		"one for a list":               {serde{}, "array<int>", `1`, nil},
		"a map":                        {serde{}, "map<string,int>", `{"b":1,"a":null}`, []any{"a", nil, "b", int32(1)}},
		"a map by number":              {serde{}, "map<int,int>", `{"7":1}`, []any{int32(7), int32(1)}},
		"a map by no number":           {serde{}, "map<int,int>", `{"x":1}`, nil},
		"a struct":                     {serde{}, "struct<a:int,b:string>", `{"B":"x","c":0}`, []any{nil, "x"}},
		"a text for a struct":          {serde{}, "struct<a:int>", `"x"`, nil},
		"a struct by case":             {serde{caseSensitive: true}, "struct<a:int>", `{"A":1}`, []any{nil}},
		"a struct with points":         {serde{dots: true}, "struct<a_b:int>", `{"a.b":1}`, []any{int32(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			kind, err := hive.Parse(c.kind)
			if err != nil {
				t.Fatal(err)
			}
			dec := json.NewDecoder(strings.NewReader(c.value))
			dec.UseNumber()
			var v any
			if err := dec.Decode(&v); err != nil {
				t.Fatal(err)
			}
			got, err := c.serde.value(&kind, v)
			var m *malformed
			if c.want == nil {
				if !errors.As(err, &m) || m.code != codeMalformed || !strings.HasPrefix(m.message, messageMismatch) {
					t.Errorf("%v, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			switch v := got.(type) {
			case time.Time:
				if !v.Equal(c.want.(time.Time)) {
					t.Errorf("got %v", v.UTC())
				}
				return
			case interface{ String() string }:
				got = v.String()
			case []pair:
				flat := []any{}
				for _, p := range v {
					flat = append(flat, p[0], p[1])
				}
				got = flat
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKeysAreRenamed(t *testing.T) {
	s := serde{}
	rows, err := s.rows([]column{{name: "ts", key: "timestamp", kind: hive.Type{Kind: hive.Int}}}, []byte(`{"ts":1,"TimeStamp":2}`))
	if err != nil || rows[0][0] != int32(2) {
		t.Errorf("%v, %v", rows, err)
	}
}

// packed is a record of CloudWatch Logs.
func packed(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.String()
}

func TestCloudWatchLogsAreDecompressed(t *testing.T) {
	const logs = `{"messageType":"DATA_MESSAGE","logGroup":"g","logEvents":[{"id":"1","timestamp":1,"message":"{\"a\":1}"},{"id":"2","message":"two"}]}`
	unpacked := processor(types.ProcessorTypeDecompression, "CompressionFormat", "GZIP")
	messages := processor(types.ProcessorTypeCloudWatchLogProcessing, "DataMessageExtraction", "true")
	for name, c := range map[string]struct {
		processors []types.Processor
		record     string
		want       string // delivered
		failed     string // the error's code
	}{
		"a document":                   {[]types.Processor{unpacked}, packed(logs), logs, ""},
		"its messages":                 {[]types.Processor{messages, unpacked}, packed(logs), "{\"a\":1}\ntwo\n", ""},
		"of no log":                    {[]types.Processor{unpacked}, "plain", "", codeDecompression},
		"cut off":                      {[]types.Processor{unpacked}, packed(logs)[:40], "", codeDecompression},
		"messages of another document": {[]types.Processor{unpacked, messages}, packed(`{"a":1}`), "", codeExtraction},
		"messages of no document":      {[]types.Processor{unpacked, messages}, packed(`x`), "", codeExtraction},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, described(func(x *types.ExtendedS3DestinationDescription) {
				x.Prefix, x.ErrorOutputPrefix = aws.String("data/"), aws.String("errors/")
				x.ProcessingConfiguration = processing(c.processors...)
				x.S3BackupMode, x.S3BackupDescription = types.S3BackupModeEnabled, &types.S3DestinationDescription{BucketARN: aws.String("arn:aws:s3:::backup")}
			}), Options{})
			b.add(c.record)
			b.after(5 * time.Minute)
			var delivered, backup string
			var failed []document
			for key, o := range b.s3.objects {
				switch {
				case strings.HasPrefix(key, "backup/"):
					backup += o.body
				case strings.HasPrefix(key, "b/errors/decompression-failed/"):
					failed = append(failed, documents(t, o.body)...)
				default:
					delivered += o.body
				}
			}
			if delivered != c.want || backup != c.record {
				t.Errorf("delivered %q, backup %q", delivered, backup)
			}
			if (len(failed) == 1) != (c.failed != "") {
				t.Fatalf("failed: %+v", failed)
			}
			for _, d := range failed {
				if raw, _ := base64.StdEncoding.DecodeString(d.RawData); d.ErrorCode != c.failed || string(raw) != c.record {
					t.Errorf("%+v", d)
				}
			}
			b.balanced()
		})
	}
}

// AWS documents that what fails after its decompression is written as it came.
func TestWhatFailsLaterIsWrittenAsItCame(t *testing.T) {
	b := start(t, converting(func(_ *types.DataFormatConversionConfiguration, x *types.ExtendedS3DestinationDescription) {
		x.ProcessingConfiguration = processing(processor(types.ProcessorTypeDecompression, "CompressionFormat", "GZIP"))
	}), Options{Glue: tables{latest: {"a int"}}})
	record := packed(`{"a":"x"}`)
	b.add(record)
	b.after(time.Minute)
	b.after(time.Minute)
	for key, o := range b.s3.objects {
		var d conversionDocument
		if err := json.Unmarshal([]byte(o.body), &d); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		if raw, _ := base64.StdEncoding.DecodeString(d.RawData); string(raw) != record {
			t.Errorf("%s", o.body)
		}
	}
	if st := b.Stats(); st.Failed != 1 {
		t.Errorf("stats %+v", st)
	}
}

func FuzzConversion(f *testing.F) {
	f.Add(`{"a":1,"b":"2026-01-01 00:00:00","c":[1.5],"d":{"k":"v"},"e":{"x":true},"f":1e2}`)
	f.Add(`{"a":null}{"c":[]}`)
	f.Add(`[1]`)
	var columns []column
	for name, kind := range map[string]string{"a": "int", "b": "timestamp", "c": "array<double>", "d": "map<string,char(2)>", "e": "struct<x:boolean,y:array<date>>", "f": "decimal(20,3)"} {
		t, err := hive.Parse(kind)
		if err != nil {
			f.Fatal(err)
		}
		columns = append(columns, column{name: name, key: name, kind: t})
	}
	file := parquetFile{codec: &parquet.Snappy, version: 1, page: 1 << 16}
	f.Fuzz(func(t *testing.T, data string) {
		s := serde{}
		rows, err := s.rows(columns, []byte(data))
		var m *malformed
		if err != nil {
			if !errors.As(err, &m) {
				t.Fatalf("an error that would repeat for ever: %v", err)
			}
			return
		}
		if body, err := (&orcFile{Compression: orc.ZLIB, StripeSize: 100, RowIndexStride: 3, DictionaryKeyThreshold: 0.5}).write(columns, rows); err != nil || !strings.HasPrefix(string(body), "ORC") || !strings.HasSuffix(string(body[:len(body)-1]), "ORC") {
			t.Fatalf("%q, %v", body, err)
		}
		body, err := file.write(columns, rows)
		if err != nil {
			t.Fatal(err)
		}
		r, err := parquet.OpenFile(bytes.NewReader(body), int64(len(body)))
		if err != nil || r.NumRows() != int64(len(rows)) {
			t.Fatalf("%v", err)
		}
	})
}
