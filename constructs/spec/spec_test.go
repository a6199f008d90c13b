package spec

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var aDay = Source{Kind: Kinesis, Retention: day}

func TestDefaultsAreValid(t *testing.T) {
	for name, err := range map[string]error{
		"stream":    Stream{}.Validate("p"),
		"table":     Table{PartitionKey: "id"}.Validate("p"),
		"function":  Function{}.Validate("p"),
		"consumer":  Consumer{}.Validate("p", aDay),
		"s3":        S3Delivery{}.Validate("p"),
		"transform": Transform{}.Validate("p"),
		"search":    OpenSearchDelivery{Index: "i"}.Validate("p"),
		"searching": OpenSearchServerlessDelivery{Index: "i"}.Validate("p"),
		"splunk":    SplunkDelivery{Endpoint: "https://splunk:8088"}.Validate("p"),
		"http":      HTTPEndpointDelivery{URL: "https://example.com"}.Validate("p"),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each case names the fields that must be refused; nothing else may be.
func TestInvalidSettingsAreNamed(t *testing.T) {
	consumer := func(s Consumer) error { return s.Validate("p", aDay) }
	for name, c := range map[string]struct {
		err    error
		fields string
	}{
		"unknown stream mode":                {Stream{Mode: "SOMETIMES"}.Validate("p"), "Mode"},
		"shards on demand":                   {Stream{Shards: 2}.Validate("p"), "Shards"},
		"provisioned without shards":         {Stream{Mode: Provisioned}.Validate("p"), "Shards"},
		"too many shards":                    {Stream{Mode: Provisioned, Shards: 10_001}.Validate("p"), "Shards"},
		"retention under a day":              {Stream{RetentionPeriod: time.Hour}.Validate("p"), "RetentionPeriod"},
		"retention over a year":              {Stream{RetentionPeriod: 366 * day}.Validate("p"), "RetentionPeriod"},
		"retention of a part of an hour":     {Stream{RetentionPeriod: day + time.Minute}.Validate("p"), "RetentionPeriod"},
		"table without a key":                {Table{}.Validate("p"), "PartitionKey"},
		"both keys alike":                    {Table{PartitionKey: "id", SortKey: "id"}.Validate("p"), "SortKey"},
		"expiry in a key":                    {Table{PartitionKey: "id", TimeToLive: "id"}.Validate("p"), "TimeToLive"},
		"key name too long":                  {Table{PartitionKey: strings.Repeat("x", 256)}.Validate("p"), "PartitionKey"},
		"unknown view":                       {Table{PartitionKey: "id", Stream: "EVERYTHING"}.Validate("p"), "Stream"},
		"unknown architecture":               {Function{Architecture: "sparc"}.Validate("p"), "Architecture"},
		"too little memory":                  {Function{Memory: 64}.Validate("p"), "Memory"},
		"too much memory":                    {Function{Memory: 20_000}.Validate("p"), "Memory"},
		"timeout over 15 minutes":            {Function{Timeout: 16 * time.Minute}.Validate("p"), "Timeout"},
		"timeout of half a second":           {Function{Timeout: 500 * time.Millisecond}.Validate("p"), "Timeout Timeout"},
		"log retention that AWS lacks":       {Function{LogRetentionDays: 31}.Validate("p"), "LogRetentionDays"},
		"negative batch":                     {consumer(Consumer{BatchSize: -1}), "BatchSize"},
		"batch of literally nothing":         {consumer(Consumer{BatchSize: Zero}), "BatchSize"},
		"batch too big":                      {consumer(Consumer{BatchSize: 10_001}), "BatchSize"},
		"window too long":                    {consumer(Consumer{BatchingWindow: 301 * time.Second}), "BatchingWindow"},
		"window of a part of a second":       {consumer(Consumer{BatchingWindow: 1500 * time.Millisecond}), "BatchingWindow"},
		"parallelization too high":           {consumer(Consumer{ParallelizationFactor: 11}), "ParallelizationFactor"},
		"too many retries":                   {consumer(Consumer{MaximumRetryAttempts: 10_001}), "MaximumRetryAttempts"},
		"age under a minute":                 {consumer(Consumer{MaximumRecordAge: time.Second}), "MaximumRecordAge"},
		"age over a week":                    {Consumer{MaximumRecordAge: 8 * day}.Validate("p", Source{Kind: Kinesis, Retention: 30 * day}), "MaximumRecordAge"},
		"age that the stream doesn't reach":  {consumer(Consumer{MaximumRecordAge: day}), "MaximumRecordAge"},
		"unknown starting position":          {consumer(Consumer{StartingPosition: "YESTERDAY"}), "StartingPosition"},
		"buffer too big":                     {S3Delivery{BufferSize: 129}.Validate("p"), "BufferSize"},
		"interval too long":                  {S3Delivery{BufferInterval: time.Hour}.Validate("p"), "BufferInterval"},
		"unknown compression":                {S3Delivery{Compression: "LZMA"}.Validate("p"), "Compression"},
		"error prefix without its type":      {S3Delivery{ErrorPrefix: "errors/"}.Validate("p"), "ErrorPrefix"},
		"error type in the prefix":           {S3Delivery{Prefix: "!{firehose:error-output-type}/"}.Validate("p"), "Prefix"},
		"errors among the good ones":         {S3Delivery{Prefix: "errors/"}.Validate("p"), "ErrorPrefix"},
		"unknown expression":                 {S3Delivery{Prefix: "!{date:yyyy}/"}.Validate("p"), "Prefix"},
		"expression left open":               {S3Delivery{Prefix: "a/!{timestamp:yyyy/"}.Validate("p"), "Prefix"},
		"transform buffer too small":         {Transform{BufferSize: .1}.Validate("p"), "BufferSize"},
		"transform buffer too big":           {Transform{BufferSize: 4}.Validate("p"), "BufferSize"},
		"transform with a negative interval": {Transform{BufferInterval: -time.Second}.Validate("p"), "BufferInterval"},
		"index in capitals":                  {OpenSearchDelivery{Index: "Races"}.Validate("p"), "Index"},
		"index that isn't there":             {OpenSearchServerlessDelivery{}.Validate("p"), "Index"},
		"acknowledgement too soon":           {SplunkDelivery{Endpoint: "https://splunk:8088", AcknowledgmentTimeout: time.Minute}.Validate("p"), "AcknowledgmentTimeout"},
		"endpoint that can't be read":        {HTTPEndpointDelivery{URL: "https://%zz"}.Validate("p"), "URL"},
		"everything wrong at once": {
			consumer(Consumer{BatchSize: -1, ParallelizationFactor: 99, MaximumRecordAge: time.Second, StartingPosition: "x"}),
			"StartingPosition BatchSize ParallelizationFactor MaximumRecordAge",
		},
	} {
		var invalid *Invalid
		if !errors.As(c.err, &invalid) {
			t.Errorf("%s: accepted (%v)", name, c.err)
			continue
		}
		var fields []string
		for _, p := range invalid.Problems {
			fields = append(fields, p.Field)
			if p.Path == "" || p.Value == "" || p.Want == "" || p.Fix == "" {
				t.Errorf("%s: a message lacks a part: %+v", name, p)
			}
		}
		if got := strings.Join(fields, " "); got != c.fields {
			t.Errorf("%s: refused %q, want %q", name, got, c.fields)
		}
	}
}

func TestZeroAndForeverAreMeant(t *testing.T) {
	d := Consumer{MaximumRetryAttempts: Zero, MaximumRecordAge: Forever}.WithDefaults(aDay)
	if d.MaximumRetryAttempts != 0 || d.MaximumRecordAge != Forever {
		t.Errorf("got %+v", d)
	}
	for _, s := range []Consumer{{MaximumRetryAttempts: Zero}, {MaximumRetryAttempts: Forever}, {MaximumRecordAge: Forever}, {BatchingWindow: Zero}} {
		if err := s.Validate("p", aDay); err != nil {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if d := (S3Delivery{BufferInterval: Zero}).WithDefaults(); d.BufferInterval != 0 {
		t.Errorf("buffer interval %v", d.BufferInterval)
	}
}

func TestRecordsReachTheFailureDestinationBeforeTheStreamForgetsThem(t *testing.T) {
	for retention, want := range map[time.Duration]time.Duration{
		day: 23 * time.Hour, 7 * day: 161 * time.Hour, 365 * day: 7 * day,
	} {
		if got := (Consumer{}).WithDefaults(Source{Retention: retention}).MaximumRecordAge; got != want {
			t.Errorf("retention %v: age %v, want %v", retention, got, want)
		}
	}
}

func TestTokensAreNotRead(t *testing.T) {
	const token = "${Token[TOKEN.7]}"
	if err := (Table{PartitionKey: token}).Validate("p"); err != nil {
		t.Error(err)
	}
	if err := (S3Delivery{Prefix: token, ErrorPrefix: token}).Validate("p"); err != nil {
		t.Error(err)
	}
}

func TestAMessageCanBeActedOn(t *testing.T) {
	err := Stream{RetentionPeriod: time.Hour, Shards: 3}.Validate("Stack/Telemetry")
	want := `2 invalid settings:
  Stack/Telemetry: Shards is 3, but an on-demand stream has no shard count: leave it out, or set Mode to spec.Provisioned
  Stack/Telemetry: RetentionPeriod is 1h, but the range is 24h to 8760h (Kinesis keeps records for 1 to 365 days): set it to a value from 24h to 8760h`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
