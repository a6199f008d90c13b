package firehose

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/itchyny/gojq"
)

// Description is DescribeDeliveryStream's answer.
type Description = types.DeliveryStreamDescription

// config is a delivery stream's description, read.
type config struct {
	name, arn, region, version string
	kinesisARN                 string
	began                      time.Time // from when records of the Kinesis stream are read

	transform        *transform
	deaggregation    *deaggregation
	query            *gojq.Code
	partitioned      bool
	delimiter        bool
	decompress       bool // records of CloudWatch Logs
	messages         bool // and nothing but their events' messages
	conversion       *conversion
	maxBuffered      int
	activePartitions int

	target  *target // delivered objects, or the failures of the other destinations
	backup  *target // source records, nil without a backup
	hints   hints   // of the destination
	deliver func(s *Stream, b *buffer) job
}

// transform is the Lambda processor.
type transform struct {
	arn     string
	retries int
	hints   hints
}

// deaggregation is the record de-aggregation: by delimiter, or of JSON if it's
// empty.
type deaggregation struct{ delimiter []byte }

// reader notes what can't be run while it reads.
type reader struct {
	config
	o         Options
	problems  []string
	extracted bool // there is a MetadataExtraction processor
	objects   bool // the destination takes S3 objects
}

func (r *reader) refuse(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// configure reads a description.
func configure(d *Description, o Options) (*config, error) {
	r := &reader{o: o}
	r.name, r.arn, r.version = aws.ToString(d.DeliveryStreamName), aws.ToString(d.DeliveryStreamARN), aws.ToString(d.VersionId)
	if r.version == "" {
		r.version = "1"
	}
	if fields := strings.Split(r.arn, ":"); len(fields) > 3 {
		r.region = fields[3]
	}
	r.activePartitions = o.ActivePartitions
	r.source(d)
	if len(d.Destinations) != 1 {
		r.refuse("Destinations: there are %d, one is supported", len(d.Destinations))
	} else {
		r.destination(&d.Destinations[0])
	}
	if o.S3 == nil {
		r.refuse("Options.S3: every delivery stream needs it")
	}
	if o.MaxInterval > 0 {
		r.hurry(o.MaxInterval)
	}
	if r.maxBuffered = o.MaxBuffered; r.maxBuffered <= 0 {
		r.maxBuffered = max(64<<20, 2*r.hints.size)
	}
	if len(r.problems) > 0 {
		return nil, &Refused{Stream: r.name, Reasons: r.problems}
	}
	return &r.config, nil
}

// hurry cuts all intervals.
func (r *reader) hurry(most time.Duration) {
	all := []*hints{&r.hints}
	if r.transform != nil {
		all = append(all, &r.transform.hints)
	}
	for _, t := range []*target{r.target, r.backup} {
		if t != nil {
			all = append(all, &t.hints)
		}
	}
	for _, h := range all {
		h.interval = min(h.interval, most)
	}
}

// TransformARN is the ARN of the function that a delivery stream transforms with,
// or empty.
func TransformARN(d *Description) string {
	r := &reader{}
	for i := range d.Destinations {
		r.destination(&d.Destinations[i])
	}
	if r.transform == nil {
		return ""
	}
	return r.transform.arn
}

func (r *reader) source(d *Description) {
	switch d.DeliveryStreamType {
	case "", types.DeliveryStreamTypeDirectPut, types.DeliveryStreamTypeKinesisStreamAsSource:
	default:
		r.refuse("DeliveryStreamType: %s isn't supported", d.DeliveryStreamType)
		return
	}
	if d.Source == nil || d.Source.KinesisStreamSourceDescription == nil {
		if d.DeliveryStreamType == types.DeliveryStreamTypeKinesisStreamAsSource {
			r.refuse("Source.KinesisStreamSourceDescription: a KinesisStreamAsSource has none")
		}
		return
	}
	k := d.Source.KinesisStreamSourceDescription
	r.kinesisARN = aws.ToString(k.KinesisStreamARN)
	switch {
	case k.DeliveryStartTimestamp != nil:
		r.began = *k.DeliveryStartTimestamp
	case d.CreateTimestamp != nil:
		r.began = *d.CreateTimestamp
	}
}

func (r *reader) destination(d *types.DestinationDescription) {
	switch {
	case d.IcebergDestinationDescription != nil:
		r.refuse("IcebergDestinationDescription: Iceberg tables aren't supported")
	case d.SnowflakeDestinationDescription != nil:
		r.refuse("SnowflakeDestinationDescription: Snowflake isn't supported")
	case d.RedshiftDestinationDescription != nil:
		r.redshift(d.RedshiftDestinationDescription)
	case d.AmazonopensearchserviceDestinationDescription != nil:
		x := d.AmazonopensearchserviceDestinationDescription
		o := openSearch{
			name: "AmazonopensearchserviceDestinationDescription", failures: "AmazonOpenSearchService-failed", endpoint: aws.ToString(x.ClusterEndpoint),
			index: aws.ToString(x.IndexName), rotation: string(x.IndexRotationPeriod), docType: aws.ToString(x.TypeName),
		}
		o.noID = x.DocumentIdOptions != nil && x.DocumentIdOptions.DefaultDocumentIdFormat == types.DefaultDocumentIdFormatNoDocumentId
		r.openSearch(o, (*types.ElasticsearchBufferingHints)(x.BufferingHints), (*types.ElasticsearchRetryOptions)(x.RetryOptions), x.S3DestinationDescription, string(x.S3BackupMode), x.ProcessingConfiguration)
	case d.ElasticsearchDestinationDescription != nil:
		x := d.ElasticsearchDestinationDescription
		o := openSearch{
			name: "ElasticsearchDestinationDescription", failures: "elasticsearch-failed", endpoint: aws.ToString(x.ClusterEndpoint),
			index: aws.ToString(x.IndexName), rotation: string(x.IndexRotationPeriod), docType: aws.ToString(x.TypeName),
		}
		o.noID = x.DocumentIdOptions != nil && x.DocumentIdOptions.DefaultDocumentIdFormat == types.DefaultDocumentIdFormatNoDocumentId
		r.openSearch(o, (*types.ElasticsearchBufferingHints)(x.BufferingHints), (*types.ElasticsearchRetryOptions)(x.RetryOptions), x.S3DestinationDescription, string(x.S3BackupMode), x.ProcessingConfiguration)
	case d.AmazonOpenSearchServerlessDestinationDescription != nil:
		x := d.AmazonOpenSearchServerlessDestinationDescription
		o := openSearch{
			name: "AmazonOpenSearchServerlessDestinationDescription", failures: "AmazonOpenSearchService-failed",
			endpoint: aws.ToString(x.CollectionEndpoint), index: aws.ToString(x.IndexName),
			noID: true, serverless: true, // collections of time series and vectors refuse ids
		}
		r.openSearch(o, (*types.ElasticsearchBufferingHints)(x.BufferingHints), (*types.ElasticsearchRetryOptions)(x.RetryOptions), x.S3DestinationDescription, string(x.S3BackupMode), x.ProcessingConfiguration)
	case d.SplunkDestinationDescription != nil:
		r.splunk(d.SplunkDestinationDescription)
	case d.HttpEndpointDestinationDescription != nil:
		r.httpEndpoint(d.HttpEndpointDestinationDescription)
	case d.ExtendedS3DestinationDescription != nil:
		r.extendedS3(d.ExtendedS3DestinationDescription)
	case d.S3DestinationDescription != nil:
		const path = "S3DestinationDescription"
		r.target = r.s3(path, d.S3DestinationDescription, false)
		r.hints, r.deliver = r.target.hints, deliverS3
	default:
		r.refuse("Destinations[0]: it is of no kind that is known")
	}
}

func (r *reader) extendedS3(x *types.ExtendedS3DestinationDescription) {
	const path = "ExtendedS3DestinationDescription"
	r.target = r.s3(path, &types.S3DestinationDescription{
		BucketARN: x.BucketARN, BufferingHints: x.BufferingHints, CompressionFormat: x.CompressionFormat,
		EncryptionConfiguration: x.EncryptionConfiguration, ErrorOutputPrefix: x.ErrorOutputPrefix, Prefix: x.Prefix,
	}, false)
	r.hints, r.deliver, r.objects = r.target.hints, deliverS3, true
	if extension := aws.ToString(x.FileExtension); extension != "" {
		r.target.extension = extension
	}
	if name := aws.ToString(x.CustomTimeZone); name != "" {
		zone, err := time.LoadLocation(name)
		if err != nil {
			r.refuse("%s.CustomTimeZone: %s is no time zone that is known here", path, name)
		} else {
			r.target.zone = zone
			if r.target.good.longZone() || r.target.errors.longZone() {
				r.refuse("%s.Prefix: long names of time zones (zzzz) are known only for UTC", path)
			}
		}
	}
	// An absent Enabled means converted: so AWS treats this block, and only this.
	if c := x.DataFormatConversionConfiguration; c != nil && (c.Enabled == nil || *c.Enabled) {
		r.convert(path, x)
	}
	if x.S3BackupMode == types.S3BackupModeEnabled {
		if x.S3BackupDescription == nil {
			r.refuse("%s.S3BackupDescription: the backup is enabled and has none", path)
		} else {
			r.backup = r.s3(path+".S3BackupDescription", x.S3BackupDescription, true)
		}
	}
	r.partitioned = x.DynamicPartitioningConfiguration != nil && aws.ToBool(x.DynamicPartitioningConfiguration.Enabled)
	r.processing(path, x.ProcessingConfiguration, 1<<20)
	names := func(kind int) (names []string) {
		for _, p := range r.target.good {
			if p.kind == kind {
				names = append(names, p.text)
			}
		}
		return names
	}
	queries, lambdas := names(queryPart), names(lambdaPart)
	switch {
	case !r.partitioned && len(queries)+len(lambdas) > 0:
		r.refuse("%s.Prefix: partition keys need DynamicPartitioningConfiguration", path)
	case r.partitioned && len(queries)+len(lambdas) == 0:
		r.refuse("%s.Prefix: with dynamic partitioning it needs a partition key", path)
	case len(queries) > 0 && !r.extracted:
		r.refuse("%s.Prefix: partitionKeyFromQuery needs a MetadataExtraction processor", path)
	case len(lambdas) > 0 && r.transform == nil:
		r.refuse("%s.Prefix: partitionKeyFromLambda needs a Lambda processor", path)
	}
	if r.partitioned && aws.ToString(x.ErrorOutputPrefix) == "" {
		r.refuse("%s.ErrorOutputPrefix: dynamic partitioning needs one", path)
	}
}

// s3 reads a place in S3. raw is for source records, which have no error prefix.
func (r *reader) s3(path string, x *types.S3DestinationDescription, raw bool) *target {
	t := &target{zone: time.UTC, hints: s3Hints(x.BufferingHints)}
	_, bucket, isARN := strings.Cut(aws.ToString(x.BucketARN), ":::")
	if t.bucket = bucket; !isARN || bucket == "" {
		r.refuse("%s.BucketARN: %q is no bucket's ARN", path, aws.ToString(x.BucketARN))
	}
	known := false
	if t.codec, known = codecs[x.CompressionFormat]; !known {
		r.refuse("%s.CompressionFormat: %s isn't supported", path, x.CompressionFormat)
	}
	t.extension = t.codec.extension
	if e := x.EncryptionConfiguration; e != nil && e.KMSEncryptionConfig != nil {
		t.kms = aws.ToString(e.KMSEncryptionConfig.AWSKMSKeyARN)
	}
	var err error
	if t.good, err = goodPrefix(aws.ToString(x.Prefix)); err != nil {
		r.refuse("%s.Prefix: %v", path, err)
	} else if !raw {
		if t.errors, err = errorPrefix(aws.ToString(x.ErrorOutputPrefix), aws.ToString(x.Prefix)); err != nil {
			r.refuse("%s.ErrorOutputPrefix: %v", path, err)
		}
	}
	return t
}

func s3Hints(x *types.BufferingHints) hints {
	if x == nil {
		return newHints(nil, nil, 5, 300)
	}
	return newHints(x.SizeInMBs, x.IntervalInSeconds, 5, 300)
}

func newHints(size, interval *int32, defaultSize, defaultInterval int32) hints {
	h := hints{size: int(defaultSize) << 20, interval: time.Duration(defaultInterval) * time.Second}
	if size != nil && *size > 0 {
		h.size = int(*size) << 20
	}
	if interval != nil {
		h.interval = time.Duration(*interval) * time.Second
	}
	return h
}

// failures reads the S3 settings of a destination that isn't S3: its failed
// records go there, all source records too if its backup mode says so.
func (r *reader) failures(path string, x *types.S3DestinationDescription, all bool) {
	if x == nil {
		r.refuse("%s.S3DestinationDescription: there is none", path)
		r.target = &target{zone: time.UTC, hints: newHints(nil, nil, 5, 300)}
		return
	}
	place := *x
	if aws.ToString(place.ErrorOutputPrefix) == "" && strings.Contains(aws.ToString(place.Prefix), "!{") {
		// These destinations use the prefix for failed records too.
		place.ErrorOutputPrefix = aws.String("!{firehose:error-output-type}/")
		r.target = r.s3(path+".S3DestinationDescription", &place, false)
		r.target.errors = r.target.good
	} else {
		r.target = r.s3(path+".S3DestinationDescription", &place, false)
	}
	if r.target.good.has(queryPart) || r.target.good.has(lambdaPart) {
		r.refuse("%s.S3DestinationDescription.Prefix: partition keys are only for a destination S3", path)
	}
	if all {
		r.backup = r.target
	}
}

// processing reads the processors. Theirs is the order of AWS: decompression,
// messages, de-aggregation, transform, partition keys, delimiter.
func (r *reader) processing(path string, x *types.ProcessingConfiguration, buffer int) {
	if x == nil || !aws.ToBool(x.Enabled) {
		return
	}
	path += ".ProcessingConfiguration"
	for _, p := range x.Processors {
		values := map[types.ProcessorParameterName]string{}
		for _, v := range p.Parameters {
			values[v.ParameterName] = aws.ToString(v.ParameterValue)
		}
		at := fmt.Sprintf("%s.%s", path, p.Type)
		switch p.Type {
		case types.ProcessorTypeLambda:
			r.lambda(at, values, buffer)
		case types.ProcessorTypeAppendDelimiterToRecord:
			if r.delimiter = true; !r.objects {
				r.refuse("%s: new lines are only put between the records of S3 objects", at)
			}
		case types.ProcessorTypeDecompression:
			r.decompression(at, values)
		case types.ProcessorTypeCloudWatchLogProcessing:
			r.messageExtraction(at, values)
		case types.ProcessorTypeRecordDeAggregation:
			r.deaggregate(at, values)
		case types.ProcessorTypeMetadataExtraction:
			r.extraction(at, values)
		default:
			r.refuse("%s: this processor isn't supported", at)
		}
	}
	if r.messages && !r.decompress {
		r.refuse("%s.CloudWatchLogProcessing: it needs a Decompression", path)
	}
	if r.extracted && !r.partitioned {
		r.refuse("%s.MetadataExtraction: it needs dynamic partitioning", path)
	}
}

func (r *reader) lambda(path string, values map[types.ProcessorParameterName]string, buffer int) {
	if r.transform != nil {
		r.refuse("%s: there are two, one is allowed", path)
		return
	}
	t := &transform{arn: values[types.ProcessorParameterNameLambdaArn], retries: 3, hints: hints{size: buffer, interval: time.Minute}}
	if t.arn == "" {
		r.refuse("%s.LambdaArn: there is none", path)
	}
	if text, ok := values[types.ProcessorParameterNameLambdaNumberOfRetries]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			r.refuse("%s.NumberOfRetries: %q is no number of retries", path, text)
		}
		t.retries = n
	}
	if text, ok := values[types.ProcessorParameterNameBufferSizeInMb]; ok {
		mb, err := strconv.ParseFloat(text, 64)
		if err != nil || !(mb >= 0.2 && mb <= 3) {
			r.refuse("%s.BufferSizeInMBs: %q isn't between 0.2 and 3", path, text)
		} else {
			t.hints.size = int(mb * (1 << 20))
		}
	}
	if text, ok := values[types.ProcessorParameterNameBufferIntervalInSeconds]; ok {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 0 || seconds > 900 {
			r.refuse("%s.BufferIntervalInSeconds: %q isn't between 0 and 900", path, text)
		}
		t.hints.interval = time.Duration(seconds) * time.Second
	}
	if r.o.Transform == nil {
		r.refuse("Options.Transform: %s needs the function %s", path, t.arn)
	}
	r.transform = t
}

func (r *reader) deaggregate(path string, values map[types.ProcessorParameterName]string) {
	switch kind := values[types.ProcessorParameterNameSubRecordType]; kind {
	case "JSON":
		r.deaggregation = &deaggregation{}
	case "DELIMITED":
		delimiter, err := base64.StdEncoding.DecodeString(values[types.ProcessorParameterNameDelimiter])
		if err != nil || len(delimiter) == 0 {
			r.refuse("%s.Delimiter: %q is no delimiter in base64", path, values[types.ProcessorParameterNameDelimiter])
		}
		r.deaggregation = &deaggregation{delimiter: delimiter}
	default:
		r.refuse("%s.SubRecordType: %q is neither JSON nor DELIMITED", path, kind)
	}
}

func (r *reader) extraction(path string, values map[types.ProcessorParameterName]string) {
	r.extracted = true
	if engine := values[types.ProcessorParameterNameJsonParsingEngine]; engine != "JQ-1.6" {
		r.refuse("%s.JsonParsingEngine: %q isn't JQ-1.6", path, engine)
	}
	text := values[types.ProcessorParameterNameMetadataExtractionQuery]
	query, err := gojq.Parse(text)
	if err == nil {
		r.query, err = gojq.Compile(query)
	}
	if err != nil {
		r.refuse("%s.MetadataExtractionQuery: %v", path, err)
	}
}

// endpoint is where an HTTP destination delivers.
func (r *reader) endpoint(path, described string) string {
	if r.o.Endpoint != "" {
		described = r.o.Endpoint
	}
	u, err := url.Parse(described)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		r.refuse("%s: %q is no URL to deliver to; Options.Endpoint gives one", path, described)
	}
	return strings.TrimRight(described, "/")
}

// seconds is a duration of the API, or its default.
func seconds(n *int32, otherwise time.Duration) time.Duration {
	if n == nil {
		return otherwise
	}
	return time.Duration(*n) * time.Second
}
