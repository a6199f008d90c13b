package synth

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/stacks/race"
)

func TestContextBecomesTheConfig(t *testing.T) {
	// Numbers and booleans as cdk.json has them, text as -c gives it; foreign keys stay foreign.
	got, err := race.ReadConfig(map[string]any{
		"race:streamMode": "PROVISIONED", "race:shards": 4.0, "race:retentionHours": "48", "race:batchSize": "500",
		"race:retryAttempts": 0.0, "race:bufferSeconds": "0", "race:alarmEmail": "oncall@example.com", "race:local": "true",
		"@aws-cdk/core:anything": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := race.Config{AlarmEmail: "oncall@example.com", Local: true}
	want.Stream = spec.Stream{Mode: spec.Provisioned, Shards: 4, RetentionPeriod: 48 * time.Hour}
	want.Standings = spec.Consumer{BatchSize: 500, MaximumRetryAttempts: spec.Zero}
	want.Archive.BufferInterval = spec.Zero
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestTheReadmeHasEverySetting(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	// The refusal of an unknown key lists those that there are.
	_, err = race.ReadConfig(map[string]any{"race:?": ""})
	_, list, found := strings.Cut(err.Error(), "use one of ")
	if !found {
		t.Fatal(err)
	}
	for _, key := range strings.Split(list, ", ") {
		if !strings.Contains(string(readme), "| `"+key+"` |") {
			t.Errorf("README.md lacks %s", key)
		}
	}
}

func TestBadContextIsRefusedAllAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		context map[string]any
		want    []string
	}{
		"unknown key":          {map[string]any{"race:shard": "4"}, []string{"race:shard ", "no such setting", "race:shards"}},
		"not a number":         {map[string]any{"race:shards": "four"}, []string{`race:shards is "four"`, "whole number"}},
		"a fraction":           {map[string]any{"race:shards": 1.5}, []string{`race:shards is "1.5"`, "whole number"}},
		"not a boolean":        {map[string]any{"race:local": "yes please"}, []string{"race:local", "true or false"}},
		"negative time":        {map[string]any{"race:bufferSeconds": "-5"}, []string{"race:bufferSeconds", "not negative"}},
		"retries for ever":     {map[string]any{"race:retryAttempts": "-1"}, []string{"race:retryAttempts", "not negative"}},
		"beyond all time":      {map[string]any{"race:bufferSeconds": "99999999999"}, []string{"race:bufferSeconds", "out of range"}},
		"another warehouse":    {map[string]any{"race:redshift": "yes"}, []string{`Redshift is "yes"`, "serverless or provisioned"}},
		"no region":            {map[string]any{"race:redshift": "serverless"}, []string{"Region is missing", "race:region"}},
		"bad address":          {map[string]any{"race:alarmEmail": "oncall"}, []string{"AlarmEmail", "name@example.com"}},
		"one switch to delete": {map[string]any{"race:destroy": "true"}, []string{"ConfirmDestroy", race.StackName}},
		"contradiction":        {map[string]any{"race:shards": "4"}, []string{"MillraceRace/Telemetry: Shards", "on-demand"}},
		"three at once": {
			map[string]any{"race:shard": "4", "race:batchSize": "20000", "race:retentionHours": "1"},
			[]string{"3 invalid settings", "race:shard ", "BatchSize", "RetentionPeriod"},
		},
	} {
		_, err := race.ReadConfig(c.context)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q lacks %q", name, err, part)
			}
		}
	}
}
