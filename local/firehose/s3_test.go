package firehose

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/klauspost/compress/snappy"
)

func TestObjectIsWrittenAfterItsInterval(t *testing.T) {
	b := start(t, described(nil), Options{})
	b.add("one", "two")
	b.after(59 * time.Second)
	b.want(nil)
	b.after(time.Second)
	b.want(map[string]string{"b/2026/03/04/05/s-3-2026-03-04-05-06-07-" + id(1): "onetwo"})
	if st := b.Stats(); st.Delivered != 2 || st.Buffered != 0 || st.Objects != 1 {
		t.Errorf("stats %+v", st)
	}
	if _, any := b.Next(); any {
		t.Error("something is due although everything is away")
	}
}

func TestObjectIsWrittenAtItsSize(t *testing.T) {
	b := start(t, described(nil), Options{})
	chunk := strings.Repeat("x", 400<<10)
	b.add(chunk, chunk)
	b.after(0)
	b.want(nil)
	b.add(chunk, "rest")
	b.after(0)
	b.want(map[string]string{"b/2026/03/04/05/s-3-2026-03-04-05-06-07-" + id(1): chunk + chunk + chunk})
	if st := b.Stats(); st.Buffered != 1 {
		t.Errorf("the record after the full buffer isn't in the next one: %+v", st)
	}
}

func TestNoInterval(t *testing.T) {
	b := start(t, described(func(x *types.ExtendedS3DestinationDescription) { x.BufferingHints.IntervalInSeconds = aws.Int32(0) }), Options{})
	b.add("one")
	b.after(0)
	if len(b.s3.keys()) != 1 {
		t.Errorf("objects %v", b.s3.keys())
	}
}

func TestPrefixUsesTheOldestArrivalInItsZone(t *testing.T) {
	b := start(t, described(func(x *types.ExtendedS3DestinationDescription) {
		x.Prefix = aws.String("p/!{timestamp:yyyy-MM-dd'T'HH}/!{firehose:random-string}/")
		x.ErrorOutputPrefix = aws.String("e/!{firehose:error-output-type}/")
		x.CustomTimeZone = aws.String("Asia/Tokyo")
		x.FileExtension = aws.String(".jsonl")
	}), Options{})
	if err := b.Add(Record{Data: []byte("later")}, Record{Data: []byte("older"), Arrival: began.Add(-6 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	b.after(time.Minute)
	b.want(map[string]string{"b/p/2026-03-04T08/00000000-00/s-3-2026-03-04-08-06-07-" + id(2) + ".jsonl": "laterolder"})
}

func TestFailedPutIsRetriedWithTheSameObject(t *testing.T) {
	s3 := newS3(errors.New("503"), errors.New("503"))
	b := start(t, described(nil), Options{S3: s3})
	b.s3 = s3
	b.add("one")
	b.after(time.Minute)
	if s3.puts != 1 || b.Stats().Buffered != 1 || !strings.Contains(b.Stats().LastError, "503") {
		t.Fatalf("puts %d, stats %+v", s3.puts, b.Stats())
	}
	b.after(999 * time.Millisecond)
	if s3.puts != 1 {
		t.Fatal("no wait before the second put")
	}
	if age := b.clock.Now().Sub(b.Stats().Oldest); age != 60*time.Second+999*time.Millisecond {
		t.Errorf("the record that waits for its put is %s old", age)
	}
	b.after(time.Millisecond)
	b.after(1999 * time.Millisecond)
	if s3.puts != 2 {
		t.Fatal("the second wait isn't longer")
	}
	b.after(time.Millisecond)
	b.want(map[string]string{"b/2026/03/04/05/s-3-2026-03-04-05-06-07-" + id(1): "one"})
	if oldest := b.Stats().Oldest; !oldest.IsZero() {
		t.Errorf("what is away is still there: %s", oldest)
	}
	b.balanced()
}

func TestFormats(t *testing.T) {
	text := strings.Repeat("a record, ", 100_000)
	unzip := func(body string) string {
		r, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
		if err != nil || len(r.File) != 1 {
			t.Fatalf("zip: %v", err)
		}
		f, err := r.File[0].Open()
		if err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(f)
		return string(out)
	}
	chunks := func(in []byte, blocks bool) string {
		var out bytes.Buffer
		for len(in) > 0 {
			if blocks {
				in = in[4:]
			}
			n := binary.BigEndian.Uint32(in)
			part, err := snappy.Decode(nil, in[4:4+n])
			if err != nil {
				t.Fatal(err)
			}
			out.Write(part)
			in = in[4+n:]
		}
		return out.String()
	}
	tests := []struct {
		format              types.CompressionFormat
		extension, encoding string
		open                func(string) string
	}{
		{types.CompressionFormatUncompressed, "", "", func(s string) string { return s }},
		{types.CompressionFormatGzip, ".gz", "gzip", gunzip},
		{types.CompressionFormatZip, ".zip", "zip", unzip},
		{types.CompressionFormatSnappy, ".snappy", "snappy-java", func(s string) string {
			if !strings.HasPrefix(s, "\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01") {
				t.Errorf("the header is %x", s[:16])
			}
			return chunks([]byte(s[16:]), false)
		}},
		{types.CompressionFormatHadoopSnappy, ".snappy", "hadoop-snappy", func(s string) string { return chunks([]byte(s), true) }},
	}
	for _, test := range tests {
		t.Run(string(test.format), func(t *testing.T) {
			b := start(t, described(func(x *types.ExtendedS3DestinationDescription) {
				x.CompressionFormat = test.format
				x.EncryptionConfiguration = &types.EncryptionConfiguration{KMSEncryptionConfig: &types.KMSEncryptionConfig{AWSKMSKeyARN: aws.String("arn:key")}}
			}), Options{})
			b.add(text)
			b.after(time.Minute)
			key := "b/2026/03/04/05/s-3-2026-03-04-05-06-07-" + id(1) + test.extension
			o, there := b.s3.objects[key]
			if !there {
				t.Fatalf("objects %v, want %s", b.s3.keys(), key)
			}
			if o.encoding != test.encoding || o.kms != "arn:key" {
				t.Errorf("encoding %q, key %q", o.encoding, o.kms)
			}
			if test.open(o.body) != text {
				t.Error("the object doesn't hold the records")
			}
		})
	}
}

func TestDelimiterStandsBetweenRecords(t *testing.T) {
	b := start(t, described(func(x *types.ExtendedS3DestinationDescription) {
		x.ProcessingConfiguration = processing(processor(types.ProcessorTypeAppendDelimiterToRecord))
	}), Options{})
	b.add("a", "b", "c")
	b.after(time.Minute)
	b.want(map[string]string{"b/2026/03/04/05/s-3-2026-03-04-05-06-07-" + id(1): "a\nb\nc"})
}

func TestBackupHoldsTheSourceRecords(t *testing.T) {
	b := start(t, described(func(x *types.ExtendedS3DestinationDescription) {
		x.S3BackupMode = types.S3BackupModeEnabled
		x.S3BackupDescription = &types.S3DestinationDescription{
			BucketARN: aws.String("arn:aws:s3:::backup"), Prefix: aws.String("raw/"), CompressionFormat: types.CompressionFormatGzip,
			BufferingHints: &types.BufferingHints{SizeInMBs: aws.Int32(1), IntervalInSeconds: aws.Int32(120)},
		}
		x.ProcessingConfiguration = processing(lambdaProcessor("BufferIntervalInSeconds", "0"))
	}), Options{Transform: function(upper)})
	b.add("a", "b")
	b.after(0)
	b.after(time.Minute)
	if st := b.Stats(); st.Delivered != 2 || st.BackupPending != 2 {
		t.Fatalf("stats %+v", st)
	}
	b.after(time.Minute)
	b.want(map[string]string{
		"b/2026/03/04/05/s-3-2026-03-04-05-06-07-" + id(2):                  "AB",
		"backup/raw/2026/03/04/05/s-3-2026-03-04-05-06-07-" + id(3) + ".gz": "ab",
	})
	if st := b.Stats(); st.BackupPending != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestDeaggregation(t *testing.T) {
	tests := []struct {
		name       string
		parameters []string
		in         string
		want       string // the pieces, with a bar between them
	}{
		{"JSON objects", []string{"SubRecordType", "JSON"}, "{\"a\":1}{\"a\":{}}\n {\"a\":\"}{\"}", `{"a":1}|{"a":{}}|{"a":"}{"}`},
		{"a JSON array is whole", []string{"SubRecordType", "JSON"}, `[{"a":1}]`, `[{"a":1}]`},
		{"broken JSON is whole", []string{"SubRecordType", "JSON"}, `{"a":1}{`, `{"a":1}{`},
		{"by delimiter", []string{"SubRecordType", "DELIMITED", "Delimiter", "IyMjIw=="}, "x####y####", "x|y"},
		{"an empty record", []string{"SubRecordType", "DELIMITED", "Delimiter", "IyMjIw=="}, "", ""},
		{"500", []string{"SubRecordType", "JSON"}, strings.Repeat("{}", 500), strings.Repeat("{}|", 499) + "{}"},
		{"501 are whole", []string{"SubRecordType", "JSON"}, strings.Repeat("{}", 501), strings.Repeat("{}", 501)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := start(t, described(func(x *types.ExtendedS3DestinationDescription) {
				x.ProcessingConfiguration = processing(processor(types.ProcessorTypeRecordDeAggregation, test.parameters...))
			}), Options{})
			var got []string
			for _, piece := range b.split([]byte(test.in)) {
				got = append(got, string(piece))
			}
			if s := strings.Join(got, "|"); s != test.want {
				t.Errorf("got %s, want %s", s, test.want)
			}
			b.add(test.in)
			if n := b.Stats().Accepted; int(n) != len(got) {
				t.Errorf("accepted %d, want %d", n, len(got))
			}
		})
	}
}

func TestDirectPutLimits(t *testing.T) {
	b := start(t, described(nil), Options{})
	if err := b.Put(Record{Data: []byte("a")}, Record{Data: make([]byte, 1_024_001)}); err == nil || b.Stats().Accepted != 0 {
		t.Errorf("error %v, stats %+v", err, b.Stats())
	}
	largest := Record{Data: make([]byte, 1_024_000)}
	for name, batch := range map[string][]Record{"501 records": make([]Record, 501), "over 4 MiB": {largest, largest, largest, largest, largest}} {
		if err := b.Put(batch...); err == nil || b.Stats().Accepted != 0 {
			t.Errorf("%s: error %v, stats %+v", name, err, b.Stats())
		}
	}
	if err := b.Put(largest, largest, largest, largest); err != nil {
		t.Error(err)
	}
	if err := b.Put(make([]Record, 500)...); err != nil {
		t.Error(err)
	}
	k := start(t, fromKinesis(described(nil)), Options{})
	if err := k.Put(Record{Data: []byte("a")}); err == nil {
		t.Error("a stream with a Kinesis source took a direct put")
	}
}

func TestFullStreamFlushesAndRefuses(t *testing.T) {
	broken := newS3()
	for range 3 {
		broken.errs = append(broken.errs, errors.New("down"))
	}
	b := start(t, described(nil), Options{S3: broken, MaxBuffered: 10})
	b.s3 = broken
	b.add("0123456789")
	if err := b.Add(Record{Data: []byte("x")}); !errors.Is(err, ErrFull) {
		t.Fatalf("error %v", err)
	}
	b.after(0) // before the interval, for it is full
	if broken.puts != 1 {
		t.Fatalf("puts %d", broken.puts)
	}
	if err := b.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.add("x")
}

func TestCloseFlushesAndSaysWhatItCant(t *testing.T) {
	b := start(t, described(func(x *types.ExtendedS3DestinationDescription) {
		x.ProcessingConfiguration = processing(lambdaProcessor())
	}), Options{Transform: function(upper)})
	b.add("a", "b")
	if err := b.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.want(map[string]string{"b/2026/03/04/05/s-3-2026-03-04-05-06-07-" + id(2): "AB"})
	if err := b.Add(Record{}); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}

	broken := start(t, described(nil), Options{S3: newS3(errors.New("down"), errors.New("down"))})
	broken.add("a")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := broken.Close(ctx); err == nil || !strings.Contains(err.Error(), "1 records") {
		t.Errorf("error %v", err)
	}
	if err := broken.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestMaxIntervalCutsBuffersAndWaits(t *testing.T) {
	d := described(func(x *types.ExtendedS3DestinationDescription) {
		x.ProcessingConfiguration = processing(lambdaProcessor("BufferIntervalInSeconds", "900"))
		x.S3BackupMode = types.S3BackupModeEnabled
		x.S3BackupDescription = &types.S3DestinationDescription{BucketARN: aws.String("arn:aws:s3:::backup")}
	})
	b := start(t, d, Options{Transform: function(upper), MaxInterval: 2 * time.Second})
	b.s3.errs = []error{nil, errors.New("503"), errors.New("503"), errors.New("503")}
	b.add("one")
	b.after(2 * time.Second) // the transform's and the backup's
	if b.s3.puts != 1 || b.Stats().Invocations != 1 {
		t.Fatalf("puts %d, stats %+v", b.s3.puts, b.Stats())
	}
	b.after(2 * time.Second) // the destination's
	for _, wait := range []time.Duration{time.Second, 2 * time.Second, 2 * time.Second} {
		b.after(wait)
	}
	if st := b.Stats(); st.Delivered != 1 || st.BackupPending != 0 || st.Errors != 3 {
		t.Errorf("after %d puts the stats are %+v", b.s3.puts, st)
	}
}
