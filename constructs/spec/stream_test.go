package spec

import (
	"strings"
	"testing"
	"time"
)

const someToken = "${Token[TOKEN.7]}"

func TestStreamsThatKinesisTakes(t *testing.T) {
	for name, s := range map[string]Stream{
		"advantage":      {Mode: OnDemandAdvantage, WarmThroughput: 10_240},
		"provisioned":    {Mode: Provisioned, Shards: 10_000},
		"a year":         {RetentionPeriod: 8_760 * time.Hour},
		"10 MiB":         {MaximumRecordSize: 10_240},
		"two metrics":    {ShardMetrics: []ShardMetric{ShardIncomingBytes, ShardOutgoingBytes}},
		"a long name":    {Name: strings.Repeat("a", 128)},
		"a token's name": {Name: someToken},
	} {
		if err := s.Validate("p"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := (Stream{}).WithDefaults(); got.Mode != OnDemand || got.MaximumRecordSize != 1024 || got.WarmThroughput != 0 {
		t.Errorf("defaults: %+v", got)
	}
}

func TestFanOutsFollowTheMode(t *testing.T) {
	for mode, want := range map[StreamMode]int{OnDemand: 20, Provisioned: 20, OnDemandAdvantage: 50, "": 50} {
		if got := StreamFanOuts(mode); got != want {
			t.Errorf("%q: %d, want %d", mode, got, want)
		}
	}
}

func TestTagsAndPatternsTakeWhatAWSTakes(t *testing.T) {
	c := At("p")
	c.Tags("Tags", map[string]string{
		"team": "race", "Kostenstelle-Ä_1.2:3/4=5+6@7": "", strings.Repeat("k", 128): strings.Repeat("v", 255), "token": someToken,
	}, 255)
	for text, pattern := range map[string]Pattern{
		"arn:aws:kinesis:eu-west-1:111122223333:stream/a.b":            StreamARN,
		"arn:aws-cn:kinesis:cn-north-1:111122223333:stream/x":          StreamARN,
		"arn:aws:iam::111122223333:role/service-role/r+=,.@-":          Principal,
		"arn:aws-us-gov:dynamodb:us-gov-west-1:111122223333:table/abc": TableARN,

		"111122223333":                   Principal,
		"arn:aws:iam::111122223333:root": Principal,
		"us-gov-east-1":                  Region,
		someToken:                        TableARN,
	} {
		c.Pattern("x", text, pattern)
	}
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

func TestTagsOfTokensAndOfTooManyAreRefused(t *testing.T) {
	c := At("p")
	c.Tags("Tags", map[string]string{someToken: "x"}, 255)
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "known when the app is synthesized") {
		t.Errorf("a key known only at deployment: %v", err)
	}
}
