package firehose

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
)

func (r *reader) redshift(x *types.RedshiftDestinationDescription) {
	const path = "RedshiftDestinationDescription"
	if x.S3DestinationDescription == nil {
		r.refuse("%s.S3DestinationDescription: there is none", path)
		return
	}
	r.target = r.s3(path+".S3DestinationDescription", x.S3DestinationDescription, false)
	r.hints, r.objects = r.target.hints, true
	if text := aws.ToString(x.S3DestinationDescription.Prefix); strings.Contains(text, "!{") {
		r.refuse("%s.S3DestinationDescription.Prefix: for Redshift it can't hold expressions", path)
	}
	if aws.ToString(x.S3DestinationDescription.ErrorOutputPrefix) != "" {
		r.refuse("%s.S3DestinationDescription.ErrorOutputPrefix: for Redshift there can't be one", path)
	}
	switch x.S3DestinationDescription.CompressionFormat {
	case types.CompressionFormatSnappy, types.CompressionFormatHadoopSnappy, types.CompressionFormatZip:
		r.refuse("%s.S3DestinationDescription.CompressionFormat: COPY can't read %s", path, x.S3DestinationDescription.CompressionFormat)
	}
	if x.S3BackupMode == types.RedshiftS3BackupModeEnabled {
		if x.S3BackupDescription == nil {
			r.refuse("%s.S3BackupDescription: the backup is enabled and has none", path)
		} else {
			r.backup = r.s3(path+".S3BackupDescription", x.S3BackupDescription, true)
		}
	}
	if x.CopyCommand == nil || aws.ToString(x.CopyCommand.DataTableName) == "" {
		r.refuse("%s.CopyCommand.DataTableName: there is none", path)
		return
	}
	if r.o.Copy == nil {
		r.refuse("Options.Copy: %s needs it", path)
	}
	var retry *int32
	if x.RetryOptions != nil {
		retry = x.RetryOptions.DurationInSeconds
	}
	rs := &redshift{
		url: aws.ToString(x.ClusterJDBCURL), user: aws.ToString(x.Username), role: aws.ToString(x.RoleARN),
		table: aws.ToString(x.CopyCommand.DataTableName), columns: aws.ToString(x.CopyCommand.DataTableColumns),
		options: aws.ToString(x.CopyCommand.CopyOptions), retry: seconds(retry, 3600*time.Second),
		before: aws.ToString(x.S3DestinationDescription.Prefix),
	}
	if secret := x.SecretsManagerConfiguration; secret != nil && aws.ToBool(secret.Enabled) {
		if rs.secret, rs.user = aws.ToString(secret.SecretARN), ""; rs.secret == "" {
			r.refuse("%s.SecretsManagerConfiguration.SecretARN: it is enabled and names no secret", path)
		}
	}
	r.deliver = func(s *Stream, b *buffer) job {
		return &copying{object: object{stream: s, target: s.target, buffer: b, purpose: delivered}, redshift: rs}
	}
	r.processing(path, x.ProcessingConfiguration, 1<<20)
}

type redshift struct {
	url, user, secret, role string
	table, columns, options string
	before                  string // the prefix of manifests
	retry                   time.Duration
}

// statement is the COPY of a manifest's objects.
func (r *redshift) statement(bucket, manifest string) string {
	columns, options := "", ""
	if r.columns != "" {
		columns = " (" + r.columns + ")"
	}
	if r.options != "" {
		options = " " + r.options
	}
	return fmt.Sprintf("COPY %s%s FROM '%s' CREDENTIALS 'aws_iam_role=%s' MANIFEST%s;",
		r.table, columns, sqlText("s3://"+bucket+"/"+manifest), sqlText(r.role), options)
}

func sqlText(s string) string { return strings.ReplaceAll(s, "'", "''") }

// The steps of a delivery to Redshift, each until it succeeded.
const (
	putObject = iota
	putManifest
	copyObject
	putErrorManifest
)

// copying is an intermediate object, its manifest, and their COPY. After the retry
// time the manifest is put under errors/, for a copy by hand.
type copying struct {
	object
	redshift *redshift
	step     int
	first    time.Time // when the COPY failed first
	aborted  bool      // the process stops: that is no fault of the cluster
}

func (c *copying) run(ctx context.Context) {
	s := c.stream
	defer func() { c.aborted = c.err != nil && ctx.Err() != nil }()
	switch c.step {
	case putObject:
		c.object.run(ctx)
	case putManifest:
		c.err = s.store(ctx, c.target, c.manifestKey(""), c.manifestBody(), "")
	case copyObject:
		m := c.manifestKey("")
		c.err = s.copier.Copy(ctx, Copy{
			JDBCURL: c.redshift.url, User: c.redshift.user, Secret: c.redshift.secret, Statement: c.redshift.statement(c.target.bucket, m),
			Bucket: c.target.bucket, Object: c.key, Manifest: m,
		})
	case putErrorManifest:
		c.err = s.store(ctx, c.target, c.manifestKey("errors/"), c.manifestBody(), "")
	}
}

// manifestKey is the object's name under manifests/ and the hour.
func (c *copying) manifestKey(under string) string {
	name := c.key[strings.LastIndexByte(c.key, '/')+1:]
	hour := c.buffer.oldest.In(c.target.zone).Format("2006/01/02/15/")
	return c.redshift.before + under + "manifests/" + hour + strings.TrimSuffix(name, c.target.extension)
}

func (c *copying) manifestBody() []byte {
	type item struct {
		URL       string `json:"url"`
		Mandatory bool   `json:"mandatory"`
	}
	body, err := json.Marshal(map[string][]item{"entries": {{"s3://" + c.target.bucket + "/" + c.key, true}}})
	if err != nil {
		panic(err) // strings always encode
	}
	return body
}

func (c *copying) settle(s *Stream, now time.Time) (time.Duration, bool) {
	if c.err != nil {
		c.failed++
		s.erred("redshift", c.err)
		if c.step != copyObject {
			return backoff(c.failed), false
		}
		if c.aborted {
			return firstBackoff, false
		}
		if c.first.IsZero() {
			c.first = now
		}
		if end := c.first.Add(c.redshift.retry); now.Before(end) {
			return min(backoff(c.failed), end.Sub(now)), false
		}
		c.step, c.failed = putErrorManifest, 0
		return 0, false
	}
	counter := &s.stats.Delivered
	switch c.step {
	case putObject, putManifest:
		s.stats.Objects++
		c.body = nil
		c.step, c.failed = c.step+1, 0
		return 0, false
	case putErrorManifest:
		s.stats.Objects++
		counter = &s.stats.Failed
	}
	for _, e := range c.buffer.entries {
		s.settled(e.rec, counter)
	}
	return 0, true
}
