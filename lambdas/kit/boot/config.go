package boot

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go/logging"
)

// unread are the variables of the SDK that change what a client does and that Config
// doesn't read.
var unread = []string{
	"AWS_ACCOUNT_ID_ENDPOINT_MODE", "AWS_AUTH_SCHEME_PREFERENCE", "AWS_DEFAULTS_MODE", "AWS_DISABLE_CLOCK_SKEW_CORRECTION",
	"AWS_DISABLE_REQUEST_COMPRESSION", "AWS_ENABLE_ENDPOINT_DISCOVERY", "AWS_REQUEST_CHECKSUM_CALCULATION",
	"AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES", "AWS_RESPONSE_CHECKSUM_VALIDATION", "AWS_S3_DISABLE_EXPRESS_SESSION_AUTH",
	"AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS", "AWS_S3_USE_ARN_REGION",
}

// Config is the AWS configuration that Lambda gives to a function in its
// environment, read through getenv (os.Getenv): credentials, region, endpoints, retry
// mode and attempts, FIPS and dual-stack endpoints, CA bundle and app id. It is what
// the SDK's config.LoadDefaultConfig makes of these variables, without the code for
// profiles, SSO and instance roles, which no function needs and which makes up a
// sixth of its binary. The HTTP client has connections enough for [Concurrency] calls:
// by default it keeps 10 per host and would open and close one for every call beyond.
//
// The error names every variable that is missing, wrong, or one of the SDK's that
// isn't read.
func Config(getenv func(string) string) (aws.Config, error) {
	cfg := aws.Config{
		Region: cmp.Or(getenv("AWS_REGION"), getenv("AWS_DEFAULT_REGION")),
		AppID:  getenv("AWS_SDK_UA_APP_ID"),
		Logger: logging.NewStandardLogger(os.Stderr),
		// What config.LoadDefaultConfig sets if nothing else is said.
		DefaultsMode:                aws.DefaultsModeLegacy,
		AccountIDEndpointMode:       aws.AccountIDEndpointModePreferred,
		RequestChecksumCalculation:  aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation:  aws.ResponseChecksumValidationWhenSupported,
		RequestMinCompressSizeBytes: 10_240,
		RestrictFilePermissions:     aws.RestrictFilePermissionsUserReadWrite,
	}
	var problems []error
	wrong := func(name, want string) {
		problems = append(problems, fmt.Errorf("environment variable %s is %q: must be %s", name, getenv(name), want))
	}
	flag := func(name string) (value, set bool) {
		text := getenv(name)
		value = strings.EqualFold(text, "true")
		if text != "" && !value && !strings.EqualFold(text, "false") {
			wrong(name, "true or false")
		}
		return value, text != ""
	}

	keys, err := Environment(getenv, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
	problems = append(problems, err)
	credentials := aws.Credentials{
		AccessKeyID: keys["AWS_ACCESS_KEY_ID"], SecretAccessKey: keys["AWS_SECRET_ACCESS_KEY"],
		SessionToken: getenv("AWS_SESSION_TOKEN"), AccountID: getenv("AWS_ACCOUNT_ID"), Source: "EnvConfigCredentials",
	}
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return credentials, nil })
	if cfg.Region == "" {
		problems = append(problems, errors.New("environment variable AWS_REGION is not set"))
	}
	if set := slices.DeleteFunc(slices.Clone(unread), func(name string) bool { return getenv(name) == "" }); len(set) > 0 {
		problems = append(problems, fmt.Errorf("boot.Config doesn't read %s: unset it, or use config.LoadDefaultConfig of the AWS SDK", strings.Join(set, ", ")))
	}

	if text := getenv("AWS_MAX_ATTEMPTS"); text != "" {
		if cfg.RetryMaxAttempts, err = strconv.Atoi(text); err != nil || cfg.RetryMaxAttempts < 0 {
			wrong("AWS_MAX_ATTEMPTS", "a whole number from 0, which is the SDK's default")
		}
	}
	if text := getenv("AWS_RETRY_MODE"); text != "" {
		if cfg.RetryMode, err = aws.ParseRetryMode(text); err != nil {
			wrong("AWS_RETRY_MODE", "standard or adaptive")
		}
	}
	e := endpoints{getenv: getenv}
	e.ignored, _ = flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
	if on, set := flag("AWS_USE_FIPS_ENDPOINT"); set {
		e.fips = aws.FIPSEndpointStateDisabled
		if on {
			e.fips = aws.FIPSEndpointStateEnabled
		}
	}
	if on, set := flag("AWS_USE_DUALSTACK_ENDPOINT"); set {
		e.dualStack = aws.DualStackEndpointStateDisabled
		if on {
			e.dualStack = aws.DualStackEndpointStateEnabled
		}
	}
	if url := getenv("AWS_ENDPOINT_URL"); url != "" && !e.ignored {
		cfg.BaseEndpoint = &url
	}
	cfg.ConfigSources = []any{e}

	var roots *x509.CertPool // nil are the system's
	if file := getenv("AWS_CA_BUNDLE"); file != "" {
		roots = x509.NewCertPool()
		if pem, err := os.ReadFile(file); err != nil {
			problems = append(problems, fmt.Errorf("environment variable AWS_CA_BUNDLE: %w", err))
		} else if !roots.AppendCertsFromPEM(pem) {
			wrong("AWS_CA_BUNDLE", "a file with certificates in PEM")
		}
	}
	cfg.HTTPClient = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = Concurrency
		if roots != nil {
			if t.TLSClientConfig == nil {
				t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
			}
			t.TLSClientConfig.RootCAs = roots
		}
	})
	if err := errors.Join(problems...); err != nil {
		return aws.Config{}, err
	}
	return cfg, nil
}

// endpoints is where the SDK's clients look up which endpoint is theirs.
type endpoints struct {
	getenv    func(string) string
	ignored   bool
	fips      aws.FIPSEndpointState
	dualStack aws.DualStackEndpointState
}

// GetIgnoreConfiguredEndpoints tells whether endpoints of the environment don't count.
func (e endpoints) GetIgnoreConfiguredEndpoints(context.Context) (value, found bool, err error) {
	return e.ignored, e.ignored, nil
}

// GetServiceBaseEndpoint is the endpoint of a service by its SDK id: that of
// "DynamoDB Streams" is AWS_ENDPOINT_URL_DYNAMODB_STREAMS.
func (e endpoints) GetServiceBaseEndpoint(_ context.Context, sdkID string) (value string, found bool, err error) {
	url := e.getenv("AWS_ENDPOINT_URL_" + strings.ReplaceAll(strings.ToUpper(sdkID), " ", "_"))
	return url, url != "", nil
}

// GetUseFIPSEndpoint tells whether endpoints validated by FIPS 140 are used.
func (e endpoints) GetUseFIPSEndpoint(context.Context) (value aws.FIPSEndpointState, found bool, err error) {
	return e.fips, e.fips != aws.FIPSEndpointStateUnset, nil
}

// GetUseDualStackEndpoint tells whether endpoints are used that have IPv6 as well.
func (e endpoints) GetUseDualStackEndpoint(context.Context) (value aws.DualStackEndpointState, found bool, err error) {
	return e.dualStack, e.dualStack != aws.DualStackEndpointStateUnset, nil
}
