package iam

// consequence says what happens on the emulator without an action.
type consequence int

const (
	// pipeline: the flow doesn't arrive. For what the functions' own code calls.
	pipeline consequence = iota
	// call: the call that AWS's service makes in the role's name, and the local pollers
	// with it, is refused.
	call
	// nothing: neither. The reason says why.
	nothing
)

// decision is a row of the table: some actions of one holder on one resource.
type decision struct {
	holder   string
	resource string
	actions  []string
	without  consequence
	why      string
	through  func(*machine, string) flow // of a pipeline's
}

func (d decision) grants() []grant {
	var all []grant
	for _, action := range d.actions {
		all = append(all, grant{d.holder, action, d.resource})
	}
	return all
}

// flow is a new one that needs g, with a name of its own.
func (d decision) flow(p *machine, g grant) flow {
	return d.through(p, "without-"+after(g.action, ":")+"-"+g.holder)
}

// Why AWS needs what the emulator's pipeline doesn't.
const (
	readsStream = "Lambda's poller reads the stream in the function's name, as the local one does: " +
		"docs.aws.amazon.com/lambda/latest/dg/services-kinesis-create.html lists these five (and SubscribeToShard, ListStreams, which only fan-out and the console need)"
	readsChanges = "Lambda's poller reads the change stream in the function's name, the local one as the account's root. The emulator refuses the call " +
		"itself whatever the policy says, as it doesn't find the stream's ARN in it: " +
		"docs.aws.amazon.com/amazondynamodb/latest/developerguide/iam-policy-example-lamda-process-dynamodb-streams.html lists the four"
	writesFailures = "Lambda writes batches that failed for good in the function's name, as the local poller does: " +
		"docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html and services-dynamodb-errors.html ask for PutObject and ListBucket; keys begin with aws/lambda/"
	writesLog = "Lambda writes the function's log in its name, the emulator without a role. The emulator refuses the call itself whatever the " +
		"policy says, as it takes the ARN of the group for that of the log stream, which is what AWS asks for: " +
		"docs.aws.amazon.com/lambda/latest/dg/lambda-intro-execution-role.html; the group is there already, so no CreateLogGroup"
	delivers = "Firehose does it in the role's name, as the local one does: " +
		"docs.aws.amazon.com/firehose/latest/dev/controlling-access.html, Grant Firehose access to an Amazon S3 destination"
	writesDeliveryLog = "Firehose logs failed deliveries in the role's name, the local one doesn't. The emulator refuses the call itself whatever " +
		"the policy says, as for the functions' logs: docs.aws.amazon.com/firehose/latest/dev/controlling-access.html"
	tellsAlarms = "CloudWatch publishes as a service, the emulator's without looking at the topic's policy: " +
		"repost.aws/knowledge-center/cloudwatch-receive-sns-for-alarm-trigger"
	trusts = "the service can assume the role only if the role trusts it; the emulator hands its functions credentials without asking, and lets " +
		"the account's root, as which the local pollers come, be any role: docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create_for-service.html"
)

const (
	standingsRole = "UpdateStandingsFunctionRole"
	podiumsRole   = "UpdatePodiumsFunctionRole"
	pacesRole     = "UpdatePacesFunctionRole"
	archiveRole   = "ArchiveRole"
	transformRole = "ArchiveTransformRole"
	failures      = "UpdateStandingsFailures"
)

func list(actions ...string) []string { return actions }

var decisions = []decision{
	// What the functions call.
	{standingsRole, "Standings", list("dynamodb:UpdateItem"), pipeline, "it writes a racer's last state", standings},
	{standingsRole, failures + "/rejected/*", list("s3:PutObject"), pipeline, "it sets malformed records aside", rejects},
	{podiumsRole, "Podiums", list("dynamodb:GetItem", "dynamodb:PutItem"), pipeline, "it merges changes into the podium that is there", podiums},
	{podiumsRole, "Standings", list("dynamodb:Query"), pipeline, "it reads a race anew that has no podium yet", podiums},
	{podiumsRole, failures + "/rejected/*", list("s3:PutObject"), pipeline, "it sets unreadable changes aside", rejectedChanges},
	// A window lasts half a minute, so its calls are tried rather than its flow.
	{pacesRole, "Paces", list("dynamodb:UpdateItem"), call, "it writes what came of a window", nil},
	{pacesRole, failures + "/rejected/*", list("s3:PutObject"), call, "it sets malformed records aside", nil},

	// What Lambda does in their name.
	{pacesRole, "Telemetry", list("kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"), call, readsStream, nil},
	{pacesRole, failures, list("s3:ListBucket"), call, writesFailures, nil},
	{pacesRole, failures + "/aws/lambda/*", list("s3:PutObject"), call, writesFailures, nil},
	{pacesRole, "UpdatePacesFunctionLogs", list("logs:CreateLogStream", "logs:PutLogEvents"), nothing, writesLog, nil},
	{standingsRole, "Telemetry", list("kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"), call, readsStream, nil},
	{standingsRole, failures, list("s3:ListBucket"), call, writesFailures, nil},
	{standingsRole, failures + "/aws/lambda/*", list("s3:PutObject"), call, writesFailures, nil},
	{podiumsRole, failures, list("s3:ListBucket"), call, writesFailures, nil},
	{podiumsRole, failures + "/aws/lambda/*", list("s3:PutObject"), call, writesFailures, nil},
	{podiumsRole, "Standings.StreamArn", list("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"), nothing, readsChanges, nil},
	{standingsRole, "UpdateStandingsFunctionLogs", list("logs:CreateLogStream", "logs:PutLogEvents"), nothing, writesLog, nil},
	{podiumsRole, "UpdatePodiumsFunctionLogs", list("logs:CreateLogStream", "logs:PutLogEvents"), nothing, writesLog, nil},
	{transformRole, "ArchiveTransformLogs", list("logs:CreateLogStream", "logs:PutLogEvents"), nothing, writesLog, nil},

	// What Firehose does in its role's name.
	{archiveRole, "Telemetry", list("kinesis:DescribeStream", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"), call, delivers, nil},
	{archiveRole, "ArchiveTransform", list("lambda:InvokeFunction"), call, delivers, nil},
	{archiveRole, "ArchiveTransform:$LATEST", list("lambda:InvokeFunction"), call, delivers, nil},
	{archiveRole, "ArchiveBucket", list("s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"), call, delivers, nil},
	{archiveRole, "ArchiveBucket/*", list("s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"), call, delivers, nil},
	{archiveRole, "ArchiveLogs", list("logs:PutLogEvents"), nothing, writesDeliveryLog, nil},

	// Who may be whom.
	{archiveRole, "trusting firehose.amazonaws.com", list("sts:AssumeRole"), nothing, trusts, nil},
	{transformRole, "trusting lambda.amazonaws.com", list("sts:AssumeRole"), nothing, trusts, nil},
	{standingsRole, "trusting lambda.amazonaws.com", list("sts:AssumeRole"), nothing, trusts, nil},
	{pacesRole, "trusting lambda.amazonaws.com", list("sts:AssumeRole"), nothing, trusts, nil},
	{podiumsRole, "trusting lambda.amazonaws.com", list("sts:AssumeRole"), nothing, trusts, nil},
	{"WatchTopicPolicy", "WatchTopic", list("sns:Publish"), nothing, tellsAlarms, nil},
}
