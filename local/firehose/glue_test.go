package firehose

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"
)

func TestGlueIsAskedForColumns(t *testing.T) {
	const columns = `{"StorageDescriptor":{"Columns":[{"Name":"a","Type":"int","Comment":"c"}],"Location":"s3://b"},"Name":"t"}`
	for name, c := range map[string]struct {
		table   Table
		status  int
		answer  string
		request string // target and body
		want    []Column
		err     error // or any, if it isn't ErrNoTable
	}{
		"as it is now":    {Table{"1", "db", "t", "LATEST"}, 200, `{"Table":` + columns + `}`, `AWSGlue.GetTable {"CatalogId":"1","DatabaseName":"db","Name":"t"}`, []Column{{"a", "int"}}, nil},
		"in a version":    {Table{"", "db", "t", "7"}, 200, `{"TableVersion":{"Table":` + columns + `,"VersionId":"7"}}`, `AWSGlue.GetTableVersion {"DatabaseName":"db","TableName":"t","VersionId":"7"}`, []Column{{"a", "int"}}, nil},
		"without columns": {Table{"", "db", "t", ""}, 200, `{"Table":{}}`, `AWSGlue.GetTable {"DatabaseName":"db","Name":"t"}`, nil, nil},
		"gone":            {Table{"", "db", "t", ""}, 400, `{"__type":"com.amazonaws.glue#EntityNotFoundException","Message":"m"}`, `AWSGlue.GetTable {"DatabaseName":"db","Name":"t"}`, nil, ErrNoTable},
		"refused":         {Table{"", "db", "t", ""}, 400, `{"__type":"AccessDeniedException","message":"not yours"}`, `AWSGlue.GetTable {"DatabaseName":"db","Name":"t"}`, nil, errors.New("AccessDeniedException not yours")},
		"a proxy":         {Table{"", "db", "t", ""}, 502, `<html>`, `AWSGlue.GetTable {"DatabaseName":"db","Name":"t"}`, nil, errors.New("502")},
		"no JSON":         {Table{"", "db", "t", ""}, 200, `<html>`, `AWSGlue.GetTable {"DatabaseName":"db","Name":"t"}`, nil, errors.New("invalid character")},
	} {
		t.Run(name, func(t *testing.T) {
			var request, authorization string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				request, authorization = r.Header.Get("X-Amz-Target")+" "+string(body), r.Header.Get("Authorization")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.answer)
			}))
			defer server.Close()
			catalog := GlueCatalog(aws.Config{Region: "eu-west-1", BaseEndpoint: aws.String(server.URL), Credentials: credentials.NewStaticCredentialsProvider("AKID", "secret", "")})
			got, err := catalog.Columns(context.Background(), c.table)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			switch {
			case (c.err == nil) != (err == nil), errors.Is(err, ErrNoTable) != errors.Is(c.err, ErrNoTable), err != nil && !strings.Contains(err.Error(), c.err.Error()):
				t.Errorf("error %v, want %v", err, c.err)
			}
			if request != c.request || !strings.HasPrefix(authorization, "AWS4-HMAC-SHA256 Credential=AKID/") || !strings.Contains(authorization, "/eu-west-1/glue/aws4_request") {
				t.Errorf("asked %s as %s", request, authorization)
			}
		})
	}
}
