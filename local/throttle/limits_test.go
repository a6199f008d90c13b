package throttle_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/local/throttle"
)

func TestProfiles(t *testing.T) {
	for name, c := range map[string]struct {
		profiles []string
		want     throttle.Limits
	}{
		"none":                       {nil, throttle.Limits{}},
		"records":                    {[]string{"shard=1000r/s"}, throttle.Limits{WriteRecords: 1000}},
		"bytes":                      {[]string{"shard=1MB/s"}, throttle.Limits{WriteBytes: 1 << 20}},
		"a list":                     {[]string{"shard=1000r/s,1MB/s"}, throttle.Limits{WriteRecords: 1000, WriteBytes: 1 << 20}},
		"a list of both names":       {[]string{"shard=5r/s,read=2t/s,512KB/s"}, throttle.Limits{WriteRecords: 5, ReadTransactions: 2, ReadBytes: 512 << 10}},
		"the flag more than once":    {[]string{"shard=5r/s", "shard=3KB/s", "read=1MB/s"}, throttle.Limits{WriteRecords: 5, WriteBytes: 3 << 10, ReadBytes: 1 << 20}},
		"blanks":                     {[]string{"shard=5r/s, 1MB/s"}, throttle.Limits{WriteRecords: 5, WriteBytes: 1 << 20}},
		"a shard's limits on AWS":    {[]string{"shard=aws"}, throttle.Limits{WriteRecords: 1000, WriteBytes: 1 << 20, ReadTransactions: 5, ReadBytes: 2 << 20}},
		"the ends of the ranges":     {[]string{"shard=1000000r/s,1024MB/s", "read=1000t/s,1KB/s"}, throttle.Limits{WriteRecords: 1_000_000, WriteBytes: 1 << 30, ReadTransactions: 1000, ReadBytes: 1 << 10}},
		"the limits on AWS, in full": {[]string{"shard=1000r/s,1MB/s", "read=5t/s,2MB/s"}, throttle.AWS},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := throttle.Parse(c.profiles...)
			if err != nil || got != c.want {
				t.Errorf("%q: %+v, %v; want %+v", c.profiles, got, err, c.want)
			}
		})
	}
}

func TestBadProfilesAreRefusedAllAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		profiles []string
		want     []string
	}{
		"nothing":                {[]string{""}, []string{`--profile ""`, "no name", "shard=1000r/s"}},
		"no name":                {[]string{"1000r/s"}, []string{"no name", "shard=…"}},
		"an unknown name":        {[]string{"shrad=5r/s"}, []string{`"shrad" is unknown`, "shard or read"}},
		"no value":               {[]string{"shard="}, []string{"shard=<n>r/s or shard=<n>MB/s or shard=<n>KB/s or shard=aws"}},
		"no unit":                {[]string{"shard=1000"}, []string{"shard=1000:", "shard=<n>r/s"}},
		"no number":              {[]string{"read=t/s"}, []string{"read=t/s:", "read=<n>t/s"}},
		"the other name's unit":  {[]string{"read=5r/s"}, []string{"read=5r/s:", "read=<n>t/s"}},
		"a fraction":             {[]string{"shard=0.5MB/s"}, []string{"shard=0.5MB/s:", "whole number"}},
		"zero":                   {[]string{"shard=0r/s"}, []string{"shard=0r/s:", "1 to 1000000"}},
		"negative":               {[]string{"shard=-5r/s"}, []string{"shard=-5r/s:", "1 to 1000000"}},
		"too much":               {[]string{"shard=1025MB/s"}, []string{"1 to 1024"}},
		"far too much":           {[]string{"read=99999999999999999999t/s"}, []string{"1 to 1000"}},
		"a limit twice":          {[]string{"shard=5r/s", "shard=6r/s"}, []string{`--profile "shard=6r/s"`, "limited already"}},
		"bytes in two units":     {[]string{"shard=5KB/s,1MB/s"}, []string{"shard=1MB/s:", "limited already"}},
		"aws after others":       {[]string{"shard=5r/s,shard=aws"}, []string{"shard=aws sets every limit"}},
		"others after aws":       {[]string{"shard=aws", "read=1t/s"}, []string{"limited already"}},
		"reads have no aws":      {[]string{"read=aws"}, []string{"read=aws:", "read=<n>t/s"}},
		"everything that is bad": {[]string{"shard=0r/s,1000", "read=6"}, []string{"shard=0r/s:", "shard=1000:", "read=6:"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := throttle.Parse(c.profiles...)
			if err == nil || got != (throttle.Limits{}) {
				t.Fatalf("%q was taken for %+v", c.profiles, got)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q doesn't say %q", err, want)
				}
			}
		})
	}
}

func TestLimitsAreTheirProfile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := throttle.Limits{
			WriteRecords: rapid.IntRange(0, 1_000_000).Draw(t, "records"), WriteBytes: 1024 * rapid.IntRange(0, 1<<20).Draw(t, "KB"),
			ReadTransactions: rapid.IntRange(0, 1000).Draw(t, "transactions"), ReadBytes: 1024 * rapid.IntRange(0, 1<<20).Draw(t, "KB read"),
		}
		if l == (throttle.Limits{}) {
			t.Skip("no limits have no profile")
		}
		if got, err := throttle.Parse(l.String()); err != nil || got != l {
			t.Errorf("%+v is %s, which is %+v, %v", l, l, got, err)
		}
	})
	for profile, l := range map[string]throttle.Limits{
		"": {}, "shard=aws": throttle.AWS, "shard=5r/s,2MB/s,read=3KB/s": {WriteRecords: 5, WriteBytes: 2 << 20, ReadBytes: 3 << 10},
	} {
		if l.String() != profile {
			t.Errorf("%+v is %q, want %q", l, l, profile)
		}
	}
}
