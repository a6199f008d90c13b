package spec

import (
	"fmt"
	"math"
	"time"
)

// Limit is the range that AWS accepts for a setting, and the reason or the page
// where AWS says so.
type Limit[T number] struct {
	Min, Max T
	Why      string
}

// String is the range with its reason.
func (l Limit[T]) String() string {
	return fmt.Sprintf("the range is %s to %s (%s)", show(l.Min), show(l.Max), l.Why)
}

// AWS's limits. They are variables so that messages, documentation and planners
// read the same table; treat them as constants.
var (
	StreamShards = Limit[int]{1, 10_000, "UpdateShardCount takes no more than 10,000 shards"}
	// StreamRetention is whole hours.
	StreamRetention = Limit[time.Duration]{24 * time.Hour, 8_760 * time.Hour, "Kinesis keeps records for 1 to 365 days"}
	// StreamWarmThroughput is in MiB/s, StreamRecordSize in KiB.
	StreamWarmThroughput = Limit[int]{1, 10_240, "UpdateStreamWarmThroughput scales an on-demand stream to 10 GiB/s at most"}
	StreamRecordSize     = Limit[int]{1_024, 10_240, "UpdateMaxRecordSize takes 1 to 10 MiB"}
	// StreamTagValue and TableTagValue are characters.
	StreamTagValue = Limit[int]{0, 255, "CloudFormation takes 255 characters for a tag's value of a Kinesis resource"}
	TableTagValue  = Limit[int]{0, 256, "DynamoDB takes 256 characters for a tag's value"}
	ResourceTags   = Limit[int]{0, 50, "AWS takes 50 tags on a resource"}

	TableGlobalIndexes    = Limit[int]{0, 20, "DynamoDB takes 20 global secondary indexes on a table"}
	TableLocalIndexes     = Limit[int]{0, 5, "DynamoDB takes 5 local secondary indexes on a table"}
	IndexKeys             = Limit[int]{1, 4, "a global secondary index has up to four partition keys and four sort keys"}
	IndexNonKeyAttributes = Limit[int]{1, 20, "CloudFormation takes 20 projected attributes for an index"}
	// TableNonKeyAttributes are those of all the indexes that include attributes.
	TableNonKeyAttributes = Limit[int]{0, 100, "DynamoDB projects 100 attributes into all the indexes of a table"}
	TableRecoveryPeriod   = Limit[int]{1, 35, "DynamoDB keeps continuous backups for 1 to 35 days"}
	// TableUnits are read or write units a second.
	TableUnits           = Limit[int]{1, math.MaxInt32, "DynamoDB counts capacity in whole units; 40,000 is an account's quota for a table until AWS raises it"}
	TableWarmReads       = Limit[int]{12_000, math.MaxInt32, "every table on demand begins with 12,000 reads a second"}
	TableWarmWrites      = Limit[int]{4_000, math.MaxInt32, "every table on demand begins with 4,000 writes a second"}
	TableUtilization     = Limit[int]{20, 90, "DynamoDB's autoscaling aims at 20 to 90 % of the capacity"}
	TableScalingCooldown = Limit[time.Duration]{0, math.MaxInt32 * time.Second, "autoscaling counts a cooldown in whole seconds; spec.Zero for none"}

	FunctionMemory  = Limit[int]{128, 10_240, "Lambda takes 128 to 10,240 MB"}
	FunctionTimeout = Limit[time.Duration]{time.Second, 900 * time.Second, "Lambda ends an invocation after 15 minutes at most"}
	// FunctionStorage is in MB.
	FunctionStorage     = Limit[int]{512, 10_240, "Lambda gives /tmp 512 to 10,240 MB"}
	FunctionDescription = Limit[int]{0, 256, "CreateFunction Description, in characters"}
	// FunctionConcurrency has no upper end of its own.
	FunctionConcurrency = Limit[int]{0, math.MaxInt32, "PutFunctionConcurrency ReservedConcurrentExecutions, at most the account's quota less 100; spec.Zero stops the function"}
	// FunctionEnvironment and FunctionCode are in bytes.
	FunctionEnvironment    = Limit[int]{0, 4_096, "Lambda takes 4 KB of environment variables, measured as JSON"}
	FunctionCode           = Limit[int64]{1, 250 << 20, "Lambda takes 250 MB of code and layers, unzipped"}
	FunctionMountPath      = Limit[int]{6, 160, "FileSystemConfig LocalMountPath, in characters"}
	FunctionLayers         = Limit[int]{0, 5, "Lambda takes five layers"}
	FunctionSubnets        = Limit[int]{1, 16, "VpcConfig SubnetIds"}
	FunctionSecurityGroups = Limit[int]{0, 5, "VpcConfig SecurityGroupIds"}

	BatchSize             = Limit[int]{1, 10_000, "CreateEventSourceMapping BatchSize"}
	BatchingWindow        = Limit[time.Duration]{0, 300 * time.Second, "CreateEventSourceMapping MaximumBatchingWindowInSeconds"}
	TumblingWindow        = Limit[time.Duration]{0, 900 * time.Second, "CreateEventSourceMapping TumblingWindowInSeconds; 0 for none"}
	ParallelizationFactor = Limit[int]{1, 10, "CreateEventSourceMapping ParallelizationFactor"}
	RetryAttempts         = Limit[int]{0, 10_000, "CreateEventSourceMapping MaximumRetryAttempts; spec.Zero for none, spec.Forever for no limit"}
	RecordAge             = Limit[time.Duration]{60 * time.Second, 604_800 * time.Second, "CreateEventSourceMapping MaximumRecordAgeInSeconds; spec.Forever for no limit"}

	RolloutPercentage = Limit[int]{1, 99, "CodeDeploy shifts 1 to 99 % of the traffic at a time"}
	// RolloutInterval is whole minutes.
	RolloutInterval = Limit[time.Duration]{time.Minute, 2_880 * time.Minute, "a Lambda deployment of CodeDeploy lasts two days at most"}

	// S3BufferSize and the following are in MiB.
	S3BufferSize     = Limit[int]{1, 128, "Firehose BufferingHints SizeInMBs"}
	S3BufferInterval = Limit[time.Duration]{0, 900 * time.Second, "Firehose BufferingHints IntervalInSeconds; spec.Zero for none"}
	// S3Prefix is in characters.
	S3Prefix = Limit[int]{0, 1_024, "Firehose Prefix and ErrorOutputPrefix, in characters"}
	// S3Expiration is whole days.
	S3Expiration            = Limit[time.Duration]{24 * time.Hour, 36_500 * 24 * time.Hour, "an S3 lifecycle rule counts days; a hundred years is as good as leaving it out"}
	TransformBufferSize     = Limit[float64]{0.2, 3, "Firehose hands a transform at most 3 MiB, so that the base64 of it stays under Lambda's 6 MB"}
	TransformBufferInterval = Limit[time.Duration]{0, 900 * time.Second, "Firehose BufferIntervalInSeconds; spec.Zero for none"}
	TransformRetries        = Limit[int]{0, 300, "Firehose NumberOfRetries of a Lambda processor; spec.Zero for none"}
	TransformTimeout        = Limit[time.Duration]{time.Second, 300 * time.Second, "Firehose waits five minutes for a transform at most"}

	// PartitionBufferSize is in MiB, PartitionQuery in characters.
	PartitionBufferSize     = Limit[int]{64, 128, "Firehose BufferingHints SizeInMBs with dynamic partitioning or a format"}
	PartitionBufferInterval = Limit[time.Duration]{60 * time.Second, 900 * time.Second, "Firehose BufferingHints IntervalInSeconds with dynamic partitioning, which knows no zero buffering"}
	PartitionKeys           = Limit[int]{0, 50, "Firehose takes 50 keys of a query"}
	PartitionQuery          = Limit[int]{1, 5_120, "Firehose MetadataExtractionQuery, in characters"}
	BackupBufferInterval    = Limit[time.Duration]{60 * time.Second, 900 * time.Second, "Firehose BufferingHints IntervalInSeconds where records are kept beside their destination, which knows no zero buffering"}
	// FileExtension is in characters, with its point.
	FileExtension = Limit[int]{2, 128, "Firehose FileExtension, in characters"}
	// ParquetPageSize is in KiB, ParquetBlockSize and ORCStripeSize are in
	// MiB; Firehose takes them in bytes, as 32-bit integers.
	ParquetPageSize        = Limit[int]{64, 2_097_151, "Firehose ParquetSerDe PageSizeBytes"}
	ParquetBlockSize       = Limit[int]{64, 2_047, "Firehose ParquetSerDe BlockSizeBytes"}
	ORCStripeSize          = Limit[int]{8, 2_047, "Firehose OrcSerDe StripeSizeBytes"}
	ORCRowIndexStride      = Limit[int]{1_000, math.MaxInt32, "Firehose OrcSerDe RowIndexStride"}
	ORCBloomFilterFalse    = Limit[float64]{0, 1, "Firehose OrcSerDe BloomFilterFalsePositiveProbability; spec.Zero for none"}
	ORCDictionaryThreshold = Limit[float64]{0, 1, "Firehose OrcSerDe DictionaryKeyThreshold; spec.Zero for none"}
	SchemaColumnComment    = Limit[int]{0, 255, "Glue Column Comment, in characters"}

	// DeliveryRetry is that of destinations with an API of their own.
	DeliveryRetry          = Limit[time.Duration]{0, 7_200 * time.Second, "Firehose RetryOptions DurationInSeconds; spec.Zero for none"}
	DeliverySubnets        = Limit[int]{1, 16, "Firehose VpcConfiguration SubnetIds"}
	DeliverySecurityGroups = Limit[int]{0, 5, "Firehose VpcConfiguration SecurityGroupIds"}

	// OpenSearchIndex is in characters, the buffer in MiB.
	OpenSearchIndex          = Limit[int]{1, 80, "Firehose IndexName, in characters"}
	OpenSearchBufferSize     = Limit[int]{1, 100, "AmazonopensearchserviceBufferingHints SizeInMBs"}
	OpenSearchBufferInterval = Limit[time.Duration]{0, 900 * time.Second, "AmazonopensearchserviceBufferingHints IntervalInSeconds; spec.Zero for none"}

	// SplunkEndpoint is in characters, the buffer in MiB.
	SplunkEndpoint       = Limit[int]{1, 2_048, "Firehose HECEndpoint, in characters"}
	SplunkAcknowledgment = Limit[time.Duration]{180 * time.Second, 600 * time.Second, "Firehose HECAcknowledgmentTimeoutInSeconds"}
	SplunkBufferSize     = Limit[int]{1, 5, "SplunkBufferingHints SizeInMBs"}
	SplunkBufferInterval = Limit[time.Duration]{0, 60 * time.Second, "SplunkBufferingHints IntervalInSeconds; spec.Zero for none"}

	// HTTPEndpointURL, its name and its attributes' values are in characters, the
	// buffer in MiB.
	HTTPEndpointURL            = Limit[int]{1, 1_000, "HttpEndpointConfiguration Url, in characters"}
	HTTPEndpointName           = Limit[int]{1, 256, "HttpEndpointConfiguration Name, in characters"}
	HTTPEndpointAttributes     = Limit[int]{0, 50, "HttpEndpointRequestConfiguration CommonAttributes"}
	HTTPEndpointAttributeValue = Limit[int]{0, 1_024, "HttpEndpointCommonAttribute AttributeValue, in characters"}
	HTTPEndpointBufferSize     = Limit[int]{1, 64, "HttpEndpointBufferingHints SizeInMBs"}
	HTTPEndpointBufferInterval = Limit[time.Duration]{0, 900 * time.Second, "HttpEndpointBufferingHints IntervalInSeconds; spec.Zero for none"}

	// IcebergQuery is in characters; the buffer is that of S3.
	IcebergQuery = Limit[int]{1, 5_120, "Firehose ProcessorParameterValue, in characters"}

	// SnowflakeAccount and SnowflakeName are in characters, the buffer in MiB.
	SnowflakeAccount        = Limit[int]{24, 2_048, "Firehose SnowflakeAccountUrl, in characters"}
	SnowflakeName           = Limit[int]{1, 255, "Firehose SnowflakeDestinationConfiguration, in characters"}
	SnowflakeBufferSize     = Limit[int]{1, 128, "SnowflakeBufferingHints SizeInMBs"}
	SnowflakeBufferInterval = Limit[time.Duration]{0, 900 * time.Second, "SnowflakeBufferingHints IntervalInSeconds"}

	MSKRetention = Limit[time.Duration]{time.Minute, 36_500 * 24 * time.Hour, "a topic's retention.ms; spec.Forever for a topic that keeps its records"}

	RedshiftRetry = Limit[time.Duration]{0, 7_200 * time.Second, "Firehose RedshiftRetryOptions DurationInSeconds; spec.Zero for none"}
	// RedshiftBaseCapacity and RedshiftMaxCapacity are in Redshift processing units.
	RedshiftBaseCapacity     = Limit[int]{4, 1_024, "Redshift Serverless has a base capacity of 4 to 1,024 units"}
	RedshiftMaxCapacity      = Limit[int]{4, 5_632, "Redshift Serverless grows to 5,632 units at most"}
	RedshiftWorkgroupSubnets = Limit[int]{3, 32, "Redshift Serverless takes three subnets at least"}
	RedshiftClusterSubnets   = Limit[int]{1, 20, "Redshift takes 20 subnets in a group"}
	RedshiftNodes            = Limit[int]{1, 128, "a Redshift cluster has 1 to 128 nodes"}
	// RedshiftSnapshotRetention is whole days.
	RedshiftSnapshotRetention = Limit[time.Duration]{24 * time.Hour, 35 * 24 * time.Hour, "Redshift keeps automated snapshots for 1 to 35 days"}
	RedshiftCopy              = Limit[int]{0, 10_240, "Firehose CopyCommand DataTableColumns and CopyOptions, in characters"}
	RedshiftTableColumns      = Limit[int]{1, 1_600, "a table in Redshift has 1,600 columns at most"}
	RedshiftSortKeys          = Limit[int]{0, 400, "a compound sort key has 400 columns at most"}
	// RedshiftMigrations and RedshiftStatement are bytes.
	RedshiftMigrations          = Limit[int]{1, 100_000, "CloudFormation hands the old and the new ones to a function in one event of 256 KB"}
	RedshiftStatement           = Limit[int]{1, 100_000, "Redshift's Data API takes statements of 100 KB"}
	RedshiftMigrationStatements = Limit[int]{1, 37, "Redshift's Data API takes 40 statements in a transaction, and three are the migration's own"}
)

// Filters of an event source mapping: how many, and the length of each.
const (
	MaximumFilters      = 10
	MaximumFilterLength = 4_096
)

// ChangeRetention is how long a DynamoDB stream keeps a change. It can't be set.
const ChangeRetention = 24 * time.Hour

// LogRetentionDays are the numbers of days that CloudWatch Logs accepts.
var LogRetentionDays = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}
