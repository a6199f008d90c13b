package boot_test

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/lambdas/kit/boot"
)

// setenv makes the environment that of a function, with these variables more.
func setenv(t *testing.T, more map[string]string) {
	t.Helper()
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // which restores it
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	// No profile of whoever runs the tests.
	t.Setenv("HOME", t.TempDir())
	for name, value := range map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token",
	} {
		t.Setenv(name, value)
	}
	for name, value := range more {
		t.Setenv(name, value)
	}
}

func TestConfigIsWhatTheSDKMakesOfAFunctionsEnvironment(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"as Lambda sets it":                   {},
		"the region's other name":             {"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-east-1"},
		"both names":                          {"AWS_DEFAULT_REGION": "us-east-1"},
		"an endpoint":                         {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"},
		"an endpoint of one service":          {"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:8000"},
		"one of all, and one of one":          {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000"},
		"endpoints that don't count":          {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
		"one service's that doesn't count":    {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "TRUE"},
		"endpoints that count":                {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false"},
		"attempts":                            {"AWS_MAX_ATTEMPTS": "7"},
		"adaptive retries":                    {"AWS_RETRY_MODE": "adaptive", "AWS_MAX_ATTEMPTS": "0"},
		"FIPS":                                {"AWS_USE_FIPS_ENDPOINT": "True"},
		"no FIPS":                             {"AWS_USE_FIPS_ENDPOINT": "false"},
		"IPv6":                                {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
		"no IPv6":                             {"AWS_USE_DUALSTACK_ENDPOINT": "false"},
		"an app's id and an account's number": {"AWS_SDK_UA_APP_ID": "race", "AWS_ACCOUNT_ID": "123456789012"},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, env)
			got, err := boot.Config(os.Getenv)
			if err != nil {
				t.Fatal(err)
			}
			want, err := config.LoadDefaultConfig(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(settings(t, want), settings(t, got)); diff != "" {
				t.Errorf("(-the SDK's +ours)\n%s", diff)
			}
		})
	}
}

// settings are what clients make of a configuration, but for functions and what the
// HTTP client is.
func settings(t *testing.T, cfg aws.Config) map[string]any {
	t.Helper()
	credentials, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	table, bucket := dynamodb.NewFromConfig(cfg).Options(), s3.NewFromConfig(cfg).Options()
	endpoint, err := table.EndpointResolverV2.ResolveEndpoint(t.Context(), dynamodb.EndpointParameters{
		Region: aws.String(table.Region), Endpoint: table.BaseEndpoint,
		UseFIPS:      aws.Bool(table.EndpointOptions.GetUseFIPSEndpoint() == aws.FIPSEndpointStateEnabled),
		UseDualStack: aws.Bool(table.EndpointOptions.GetUseDualStackEndpoint() == aws.DualStackEndpointStateEnabled),
	})
	return map[string]any{
		"credentials": credentials, "region": cfg.Region, "endpoint": cfg.BaseEndpoint, "app": cfg.AppID,
		"attempts": cfg.RetryMaxAttempts, "retries": cfg.RetryMode, "defaults": cfg.DefaultsMode, "account": cfg.AccountIDEndpointMode,
		"checksums": []any{cfg.RequestChecksumCalculation, cfg.ResponseChecksumValidation}, "files": cfg.RestrictFilePermissions,
		"compression": []any{cfg.DisableRequestCompression, cfg.RequestMinCompressSizeBytes}, "clock": cfg.DisableClockSkewCorrection,
		"log": cfg.Logger != nil, "log mode": cfg.ClientLogMode, "schemes": cfg.AuthSchemePreference,

		"table's endpoint": []any{table.BaseEndpoint, endpoint.URI.String(), err}, "bucket's endpoint": bucket.BaseEndpoint,
		"FIPS":    []any{table.EndpointOptions.UseFIPSEndpoint, bucket.EndpointOptions.UseFIPSEndpoint},
		"IPv6":    []any{table.EndpointOptions.UseDualStackEndpoint, bucket.EndpointOptions.UseDualStackEndpoint},
		"retryer": table.Retryer.MaxAttempts(), "table's account": table.AccountIDEndpointMode,
		"bucket's checksums": []any{bucket.RequestChecksumCalculation, bucket.ResponseChecksumValidation},
		"bucket's ARNs":      []any{bucket.UseARNRegion, bucket.DisableMultiRegionAccessPoints, bucket.DisableS3ExpressSessionAuth},
		"discovery":          table.EndpointDiscovery.EnableEndpointDiscovery,
	}
}

// decided are the settings that the SDK reads from the environment: those of
// boot.Config, those that it refuses, and those of machines that aren't functions.
const decided = `
	Credentials Region AppID CustomCABundle UseDualStackEndpoint UseFIPSEndpoint RetryMaxAttempts RetryMode BaseEndpoint IgnoreConfiguredEndpoints

	DisableRequestCompression RequestMinCompressSizeBytes DisableClockSkewCorrection EnableEndpointDiscovery S3UseARNRegion
	S3DisableMultiRegionAccessPoints DefaultsMode S3DisableExpressAuth AccountIDEndpointMode RequestChecksumCalculation
	ResponseChecksumValidation AuthSchemePreference

	ContainerCredentialsEndpoint ContainerCredentialsRelativePath ContainerAuthorizationToken SharedConfigProfile SharedCredentialsFile
	SharedConfigFile WebIdentityTokenFilePath RoleARN RoleSessionName EC2IMDSClientEnableState EC2IMDSEndpointMode EC2IMDSEndpoint
	EC2IMDSv1Disabled RestrictFilePermissions`

func TestEverySettingOfTheSDKIsDecidedAbout(t *testing.T) {
	for _, field := range reflect.VisibleFields(reflect.TypeFor[config.EnvConfig]()) {
		if !slices.Contains(strings.Fields(decided), field.Name) {
			t.Errorf("the SDK reads %s now", field.Name)
		}
	}
}

func TestEveryProblemOfTheEnvironmentIsNamedAtOnce(t *testing.T) {
	setenv(t, map[string]string{
		"AWS_ACCOUNT_ID_ENDPOINT_MODE": "required", "AWS_AUTH_SCHEME_PREFERENCE": "sigv4a", "AWS_DEFAULTS_MODE": "auto",
		"AWS_DISABLE_CLOCK_SKEW_CORRECTION": "true", "AWS_DISABLE_REQUEST_COMPRESSION": "true", "AWS_ENABLE_ENDPOINT_DISCOVERY": "true",
		"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES": "1",
		"AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required", "AWS_S3_DISABLE_EXPRESS_SESSION_AUTH": "true",
		"AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS": "true", "AWS_S3_USE_ARN_REGION": "true",
		"AWS_MAX_ATTEMPTS": "-1", "AWS_RETRY_MODE": "stubborn", "AWS_USE_FIPS_ENDPOINT": "1", "AWS_USE_DUALSTACK_ENDPOINT": "yes",
		"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "no", "AWS_CA_BUNDLE": "none.pem", "AWS_REGION": "", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "",
	})
	_, err := boot.Config(os.Getenv)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "AWS_") && name != "AWS_SESSION_TOKEN" && !regexp.MustCompile(name+"[ ,:]").MatchString(err.Error()) {
			t.Errorf("%s isn't named in %v", name, err)
		}
	}
}

func TestServersOfTheCABundleAreTrusted(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = w.Write([]byte(`{"TableNames":["standings"]}`))
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the client that doesn't trust it
	server.StartTLS()
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, trusted := range []bool{true, false} {
		setenv(t, map[string]string{"AWS_ENDPOINT_URL": server.URL, "AWS_MAX_ATTEMPTS": "1"})
		if trusted {
			t.Setenv("AWS_CA_BUNDLE", bundle)
		}
		cfg, err := boot.Config(os.Getenv)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dynamodb.NewFromConfig(cfg).ListTables(t.Context(), nil); (err == nil) != trusted {
			t.Errorf("trusted %t: %v", trusted, err)
		}
	}
}
