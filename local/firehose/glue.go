package firehose

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Catalog is what a delivery stream with a format needs of the AWS Glue Data
// Catalog; [GlueCatalog] is one.
type Catalog interface {
	// Columns of a table; an error is ErrNoTable if there is none.
	Columns(ctx context.Context, table Table) ([]Column, error)
}

// Table of a catalog, in a version or, with "LATEST", as it is now.
type Table struct{ CatalogID, Database, Name, Version string }

// Column of a table, with its type in Hive's words.
type Column struct{ Name, Type string }

// ErrNoTable is that a catalog has no such table.
var ErrNoTable = errors.New("firehose: there is no such table")

// GlueCatalog is the AWS Glue Data Catalog. It makes its two calls by itself: with
// the SDK's client of Glue, `millrace` had 10 MB more.
func GlueCatalog(config aws.Config) Catalog {
	return &glueCatalog{config: config, client: &http.Client{Timeout: time.Minute}}
}

type glueCatalog struct {
	config aws.Config
	client *http.Client
}

// glueTable is a table as Glue answers it.
type glueTable struct {
	StorageDescriptor struct{ Columns []Column }
}

func (g *glueCatalog) Columns(ctx context.Context, t Table) ([]Column, error) {
	request := map[string]string{"DatabaseName": t.Database}
	if t.CatalogID != "" {
		request["CatalogId"] = t.CatalogID
	}
	if t.Version == "" || t.Version == latest {
		request["Name"] = t.Name
		var answer struct{ Table glueTable }
		err := g.call(ctx, "GetTable", request, &answer)
		return answer.Table.StorageDescriptor.Columns, err
	}
	request["TableName"], request["VersionId"] = t.Name, t.Version
	var answer struct{ TableVersion struct{ Table glueTable } }
	err := g.call(ctx, "GetTableVersion", request, &answer)
	return answer.TableVersion.Table.StorageDescriptor.Columns, err
}

func (g *glueCatalog) call(ctx context.Context, action string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	endpoint := cmp.Or(aws.ToString(g.config.BaseEndpoint), "https://glue."+g.config.Region+".amazonaws.com")
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(endpoint, "/")+"/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "AWSGlue."+action)
	credentials, err := g.config.Credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, r, hex.EncodeToString(hash[:]), "glue", g.config.Region, time.Now()); err != nil {
		return err
	}
	response, err := g.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode == http.StatusOK {
		return json.Unmarshal(text, answer)
	}
	var problem struct {
		Type    string `json:"__type"`
		Message string
	}
	_ = json.Unmarshal(text, &problem) // a proxy's answer is none
	// A type may have its namespace before it.
	if _, name, _ := strings.Cut("#"+problem.Type, "#"); strings.HasSuffix(name, "EntityNotFoundException") {
		return ErrNoTable
	}
	return fmt.Errorf("%s: %d %s %s", action, response.StatusCode, problem.Type, problem.Message)
}
