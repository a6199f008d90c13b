package local

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestADeliveryStreamWithAnotherSourceIsRefusedByName(t *testing.T) {
	p := pathsOf(t.TempDir())
	if err := os.MkdirAll(filepath.Dir(p.template()), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.template(), []byte(`{}`), 0o644); err != nil {
		t.Fatal(err)
	}
	description := map[string]string{
		"topic":  `"DeliveryStreamType":"MSKAsSource","Destinations":[{"IcebergDestinationDescription":{}}]`,
		"broken": `"DeliveryStreamType":"KinesisStreamAsSource","Destinations":[{"S3DestinationDescription":{"BucketARN":"arn:aws:s3:::b"}}]`,
		"direct": `"DeliveryStreamType":"DirectPut","Destinations":[{"IcebergDestinationDescription":{}}]`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, call, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		switch call {
		case "ListDeliveryStreams":
			fmt.Fprint(w, `{"DeliveryStreamNames":["topic","broken","direct"],"HasMoreDeliveryStreams":false}`)
		case "DescribeDeliveryStream":
			body, _ := io.ReadAll(r.Body)
			for name, text := range description {
				if strings.Contains(string(body), name) {
					fmt.Fprintf(w, `{"DeliveryStreamDescription":{"DeliveryStreamName":%q,"HasMoreDestinations":false,%s}}`, name, text)
				}
			}
		case "":
			fmt.Fprint(w, `<DescribeStackResourcesResponse><DescribeStackResourcesResult/></DescribeStackResourcesResponse>`)
		default:
			t.Errorf("%s was called", call)
		}
	}))
	defer server.Close()
	var taken pipeline
	err := taken.takeDeliveries(t.Context(), Config(server.URL), p, &warehouse{})
	if err == nil {
		t.Fatal("nothing is refused")
	}
	for _, want := range []string{"topic can't run locally: DeliveryStreamType: MSKAsSource", "IcebergDestinationDescription", "broken can't run locally: Source.KinesisStreamSourceDescription"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "direct") || len(taken.deliveries) > 0 {
		t.Errorf("%v; taken: %v", err, taken.deliveries)
	}
}
