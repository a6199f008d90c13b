package consumer_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/millrace/millrace/lambdas/kit/batch"
	"github.com/millrace/millrace/lambdas/kit/consumer"
)

// function is a function that needs a table's name.
func function(aws.Config, batch.Rejects) (lambda.Handler, error) {
	return nil, errors.New("environment variable TABLE is not set")
}

func TestMain(m *testing.M) {
	if os.Getenv("AS_FUNCTION") != "" {
		consumer.Start(function)
	}
	os.Exit(m.Run())
}

func TestAFunctionThatCantStartSaysWhatIsMissing(t *testing.T) {
	complete := []string{
		"AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret",
		"FAILURE_BUCKET=failures", "AWS_LAMBDA_FUNCTION_NAME=standings",
	}
	for name, c := range map[string]struct{ env, named []string }{
		"everything": {nil, []string{"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "FAILURE_BUCKET", "AWS_LAMBDA_FUNCTION_NAME"}},
		"its own":    {complete, []string{"TABLE"}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(c.env, "AS_FUNCTION=1")
			out, err := cmd.CombinedOutput()
			var ended *exec.ExitError
			if !errors.As(err, &ended) || ended.ExitCode() != 1 {
				t.Fatalf("%v\n%s", err, out)
			}
			var line struct{ Level, Error string }
			if err := json.Unmarshal(out, &line); err != nil || line.Level != "ERROR" {
				t.Fatalf("%v: %s", err, out)
			}
			for _, variable := range c.named {
				if !strings.Contains(line.Error, variable) {
					t.Errorf("%s isn't named: %s", variable, line.Error)
				}
			}
		})
	}
}
