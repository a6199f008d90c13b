// Package redshift tests the path to Redshift end to end: what the settings say, what
// the migrations make of it through the Data API, what the delivery stream writes and
// copies, and the rows, in a real PostgreSQL that stands in for Redshift.
package redshift

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	fhtypes "github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/millrace/millrace/constructs/spec"
	"github.com/millrace/millrace/lambdas/migrate/migration"
	"github.com/millrace/millrace/local"
	"github.com/millrace/millrace/local/firehose"
	"github.com/millrace/millrace/local/redshift"
)

// warehouse is shared by all tests: each has a schema of its own.
var (
	warehouse *redshift.Warehouse
	data      *redshiftdata.Client
	secrets   = &vault{values: map[string]string{"admin": `{"username":"admin","password":"none"}`}}
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	checkout, err := local.Checkout("")
	if err == nil {
		modules := filepath.Join(checkout, "node_modules")
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		warehouse, err = redshift.Start(ctx, redshift.Options{
			Node: filepath.Join(modules, ".bin", "node"), Server: redshift.Script(modules), Log: filepath.Join(os.TempDir(), "millrace-redshift.log"), Secrets: secrets,
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err, "(make install)")
		return 1
	}
	defer warehouse.Close()
	api := httptest.NewServer(warehouse)
	defer api.Close()
	data = redshiftdata.New(redshiftdata.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(api.URL), Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
	return m.Run()
}

// vault is Secrets Manager.
type vault struct {
	mu     sync.Mutex
	values map[string]string
}

func (v *vault) put(id, user, password string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.values[id] = fmt.Sprintf(`{"username":%q,"password":%q}`, user, password)
}

func (v *vault) GetSecretValue(_ context.Context, in *secretsmanager.GetSecretValueInput, _ ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	value, ok := v.values[*in.SecretId]
	if !ok {
		return nil, fmt.Errorf("no secret %s", *in.SecretId)
	}
	return &secretsmanager.GetSecretValueOutput{SecretString: aws.String(value)}, nil
}

// bucket is S3.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte
}

func (b *bucket) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	body, err := io.ReadAll(in.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[*in.Bucket+"/"+*in.Key] = body
	return &s3.PutObjectOutput{}, err
}

func (b *bucket) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	body, ok := b.objects[*in.Bucket+"/"+*in.Key]
	if !ok {
		return nil, fmt.Errorf("NoSuchKey: %s", *in.Key)
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(bytes.NewReader(body))}, nil
}

// under are the keys that begin so, without it.
func (b *bucket) under(prefix string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			keys = append(keys, rest)
		}
	}
	return keys
}

// clock jumps to whatever is waited for.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(max(d, 0))
	ready := make(chan time.Time, 1)
	ready <- c.now
	return ready
}

// path is one delivery of the tests: settings, and what is made of them.
type path struct {
	t          *testing.T
	settings   spec.RedshiftDelivery
	secret     string
	compressed spec.Compression
	bucket     *bucket
	clock      *clock
	// copied are the COPY statements that were run, with what came of them.
	copied []string
	errs   []error
	// fail is asked before each COPY.
	fail func(n int) error
}

// newPath is a delivery in a schema of its own.
func newPath(t *testing.T, settings spec.RedshiftDelivery) *path {
	t.Helper()
	id := strings.ToLower(rand.Text()[:10])
	settings.Schema, settings.User = "s_"+id, "u_"+id
	p := &path{
		t: t, settings: settings, secret: "secret-" + id,
		bucket: &bucket{objects: map[string][]byte{}}, clock: &clock{now: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)},
	}
	secrets.put(p.secret, settings.User, "Password1"+id)
	if err := settings.Validate("", spec.S3Delivery{}, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// table is what the construct hands to the function.
func (p *path) table() migration.Table {
	p.t.Helper()
	s := p.settings.WithDefaults()
	t := migration.Table{
		WorkgroupName: "wg", Database: s.Database, AdminSecret: "admin", UserSecret: p.secret, User: s.User, OwnUser: true,
		Schema: s.Schema, Table: s.Table, CreateTable: s.CreateTable(),
	}
	columns, err := spec.RedshiftColumns(s.Row)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, c := range columns {
		t.Columns = append(t.Columns, migration.Column{Name: c.Name, Definition: c.Definition(), Type: c.CatalogType()})
	}
	files, err := spec.Migrations(s.Migrations)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range files {
		t.Migrations = append(t.Migrations, migration.Migration(m))
	}
	return t
}

// migrate applies the settings, through the Data API's client, or through what stands
// between.
func (p *path) migrate(api migration.DataAPI) error {
	p.t.Helper()
	if api == nil {
		api = data
	}
	m := &migration.Migrator{
		Data: api, Secrets: secrets, Log: slog.New(slog.DiscardHandler),
		Sleep: func(ctx context.Context, _ time.Duration) error {
			time.Sleep(time.Millisecond) // PostgreSQL is at work; nothing depends on how long
			return ctx.Err()
		},
	}
	return m.Apply(p.t.Context(), p.table())
}

func (p *path) migrated() {
	p.t.Helper()
	if err := p.migrate(nil); err != nil {
		p.t.Fatal(err)
	}
}

// Copy runs a statement, unless the test has it fail.
func (p *path) Copy(ctx context.Context, c firehose.Copy) error {
	p.copied = append(p.copied, c.Statement)
	err := error(nil)
	if p.fail != nil {
		err = p.fail(len(p.copied))
	}
	if err == nil {
		err = (&redshift.Copier{Warehouse: warehouse, Objects: p.bucket, Secrets: secrets}).Copy(ctx, c)
	}
	p.errs = append(p.errs, err)
	return err
}

// stream is the delivery stream that the construct describes.
func (p *path) stream() *firehose.Stream {
	p.t.Helper()
	s := p.settings.WithDefaults()
	jsonPaths := ""
	if len(s.JSONPaths) > 0 {
		p.bucket.objects["assets/paths.json"] = s.JSONPathsFile()
		jsonPaths = "s3://assets/paths.json"
	}
	format := fhtypes.CompressionFormatGzip
	if p.compressed != "" {
		format = fhtypes.CompressionFormat(p.compressed)
	}
	stream, err := firehose.New(&firehose.Description{
		DeliveryStreamName: aws.String("Orders"), DeliveryStreamARN: aws.String("arn:aws:firehose:us-east-1:000000000000:deliverystream/Orders"),
		Destinations: []fhtypes.DestinationDescription{{RedshiftDestinationDescription: &fhtypes.RedshiftDestinationDescription{
			ClusterJDBCURL: aws.String("jdbc:redshift://wg.000000000000.us-east-1.redshift-serverless.amazonaws.com:5439/" + s.Database),
			RoleARN:        aws.String("arn:aws:iam::000000000000:role/firehose"),
			CopyCommand: &fhtypes.CopyCommand{
				DataTableName: aws.String(s.DataTable()), DataTableColumns: aws.String(strings.Join(s.Columns, ",")),
				CopyOptions: aws.String(p.settings.CopyOptions(p.compressed, jsonPaths)),
			},
			RetryOptions:                &fhtypes.RedshiftRetryOptions{DurationInSeconds: aws.Int32(int32(s.RetryDuration.Seconds()))},
			SecretsManagerConfiguration: &fhtypes.SecretsManagerConfiguration{Enabled: aws.Bool(true), SecretARN: aws.String(p.secret)},
			S3DestinationDescription: &fhtypes.S3DestinationDescription{
				BucketARN: aws.String("arn:aws:s3:::objects"), Prefix: aws.String(s.Table + "/"), CompressionFormat: format,
			},
		}}},
	}, firehose.Options{S3: p.bucket, Copy: p, Clock: p.clock, Concurrency: 1})
	if err != nil {
		p.t.Fatal(err)
	}
	return stream
}

// deliver puts records, JSON each, and waits until they are in the table or given up.
func (p *path) deliver(records ...any) *firehose.Stream {
	p.t.Helper()
	stream := p.stream()
	for _, r := range records {
		text, ok := r.(string)
		if !ok {
			raw, err := json.Marshal(r)
			if err != nil {
				p.t.Fatal(err)
			}
			text = string(raw)
		}
		if err := stream.Put(firehose.Record{Data: []byte(text + "\n")}); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := stream.Close(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	return stream
}

// rows are those of a query, %s in it the table, with blanks between the columns.
func (p *path) rows(query string) []string {
	p.t.Helper()
	all, err := warehouse.Query(p.t.Context(), strings.ReplaceAll(query, "%s", p.settings.DataTable()))
	if err != nil {
		p.t.Fatal(err)
	}
	texts := []string{}
	for _, row := range all {
		texts = append(texts, strings.Join(row, " "))
	}
	return texts
}

func unzipped(t *testing.T, data []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// interrupted is the Data API with faults.
type interrupted struct {
	migration.DataAPI
	// before and after are called around each transaction; an error is the caller's.
	before, after func(n int) error
	n             int
}

var errKilled = errors.New("the function was killed")

func (i *interrupted) BatchExecuteStatement(ctx context.Context, in *redshiftdata.BatchExecuteStatementInput, o ...func(*redshiftdata.Options)) (*redshiftdata.BatchExecuteStatementOutput, error) {
	i.n++
	if i.before != nil {
		if err := i.before(i.n); err != nil {
			return nil, err
		}
	}
	out, err := i.DataAPI.BatchExecuteStatement(ctx, in, o...)
	if err == nil && i.after != nil {
		err = i.after(i.n)
	}
	return out, err
}
