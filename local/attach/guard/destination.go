package guard

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
)

// hosts begin with something else than the name that their services sign for. Of a
// service that is missing here the host isn't found, and the function is told.
var hosts = map[string]string{
	"ecr":             "api.ecr",
	"iotdata":         "data-ats.iot",
	"mobiletargeting": "pinpoint",
	"pricing":         "api.pricing",
	"sagemaker":       "api.sagemaker",
	"ses":             "email",
}

// global services have one host in all regions.
var global = map[string]string{"iam": "iam.", "route53": "route53.", "cloudfront": "cloudfront."}

// destination is where a call goes: AWS's own host for it, or the endpoint that the
// configuration names for all services.
func (g *Guard) destination(call Call, region string, r *http.Request) (*url.URL, error) {
	if base := aws.ToString(g.options.Config.BaseEndpoint); base != "" {
		return url.Parse(base)
	}
	suffix, err := suffixOf(region)
	if err != nil {
		return nil, err
	}
	if name, ok := global[call.Service]; ok {
		return &url.URL{Scheme: "https", Host: name + suffix}, nil
	}
	return &url.URL{Scheme: "https", Host: host(call, r) + "." + region + "." + suffix}, nil
}

// host is the first part of a service's host, where several share a name too.
func host(call Call, r *http.Request) string {
	path := r.URL.Path
	switch {
	case call.Service == "dynamodb" && strings.HasPrefix(r.Header.Get("X-Amz-Target"), "DynamoDBStreams_"):
		return "streams.dynamodb"
	case call.Service == "bedrock" && (strings.HasPrefix(path, "/model/") || strings.HasPrefix(path, "/guardrail/")):
		return "bedrock-runtime"
	case call.Service == "sagemaker" && strings.HasPrefix(path, "/endpoints/"):
		return "runtime.sagemaker"
	case call.Service == "appconfig" && strings.HasPrefix(path, "/configuration"):
		return "appconfigdata"
	}
	if name, ok := hosts[call.Service]; ok {
		return name
	}
	return call.Service
}

// suffixOf is the domain of a region's hosts. The SDK knows AWS's partitions.
func suffixOf(region string) (string, error) {
	endpoint, err := kinesis.NewDefaultEndpointResolverV2().ResolveEndpoint(context.Background(), kinesis.EndpointParameters{Region: aws.String(region)})
	if err != nil {
		return "", fmt.Errorf("region %s: %w", region, err)
	}
	suffix, ok := strings.CutPrefix(endpoint.URI.Host, "kinesis."+region+".")
	if !ok {
		return "", fmt.Errorf("region %s has the unexpected host %s", region, endpoint.URI.Host)
	}
	return suffix, nil
}
