#!/usr/bin/env node
// The race stack's resources in TypeScript with AWS Solutions Constructs, to compare the
// time of a synthesis: the same parts and the same number of alarms. Where the two can't
// be equal TypeScript has the advantage: its functions are inline stubs, so nothing is
// compiled, hashed or copied for them, and alarms have no description to compose.
import { KinesisStreamsToLambda } from "@aws-solutions-constructs/aws-kinesisstreams-lambda";
import { DynamoDBStreamsToLambda } from "@aws-solutions-constructs/aws-dynamodbstreams-lambda";
import { KinesisStreamsToKinesisFirehoseToS3 } from "@aws-solutions-constructs/aws-kinesisstreams-kinesisfirehose-s3";
import * as cdk from "aws-cdk-lib";
import * as cloudwatch from "aws-cdk-lib/aws-cloudwatch";
import * as actions from "aws-cdk-lib/aws-cloudwatch-actions";
import * as dynamodb from "aws-cdk-lib/aws-dynamodb";
import * as kinesis from "aws-cdk-lib/aws-kinesis";
import * as lambda from "aws-cdk-lib/aws-lambda";
import * as sns from "aws-cdk-lib/aws-sns";

const app = new cdk.App();
const stack = new cdk.Stack(app, "Race");

const stub: lambda.FunctionProps = {
  runtime: lambda.Runtime.NODEJS_22_X,
  handler: "index.handler",
  code: lambda.Code.fromInline("exports.handler = async () => ({ batchItemFailures: [] })"),
  memorySize: 256,
  timeout: cdk.Duration.seconds(30),
};

const telemetry = new kinesis.Stream(stack, "Telemetry", {
  streamMode: kinesis.StreamMode.ON_DEMAND,
  encryption: kinesis.StreamEncryption.MANAGED,
});
const podiums = new dynamodb.Table(stack, "Podiums", {
  partitionKey: { name: "race", type: dynamodb.AttributeType.STRING },
  billingMode: dynamodb.BillingMode.PAY_PER_REQUEST,
  pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
});
const updateStandings = new KinesisStreamsToLambda(stack, "UpdateStandings", {
  existingStreamObj: telemetry,
  lambdaFunctionProps: stub,
  createCloudWatchAlarms: false,
});
const updatePodiums = new DynamoDBStreamsToLambda(stack, "UpdatePodiums", {
  lambdaFunctionProps: stub,
  dynamoTableProps: {
    partitionKey: { name: "race", type: dynamodb.AttributeType.STRING },
    sortKey: { name: "racer", type: dynamodb.AttributeType.STRING },
    stream: dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
  },
});
const standings = updatePodiums.dynamoTable!;
standings.grant(updateStandings.lambdaFunction, "dynamodb:UpdateItem");
standings.grant(updatePodiums.lambdaFunction, "dynamodb:Query");
podiums.grant(updatePodiums.lambdaFunction, "dynamodb:GetItem", "dynamodb:PutItem");

const transform = new lambda.Function(stack, "Transform", stub);
const archive = new KinesisStreamsToKinesisFirehoseToS3(stack, "Archive", {
  existingStreamObj: telemetry,
  createCloudWatchAlarms: false,
  logS3AccessLogs: false,
  kinesisFirehoseProps: {
    extendedS3DestinationConfiguration: {
      bufferingHints: { intervalInSeconds: 300, sizeInMBs: 5 },
      processingConfiguration: {
        enabled: true,
        processors: [{ type: "Lambda", parameters: [{ parameterName: "LambdaArn", parameterValue: transform.functionArn }] }],
      },
    },
  },
});
transform.grantInvoke(archive.kinesisFirehoseRole);

const topic = new sns.Topic(stack, "Topic", { enforceSSL: true });
const metrics: cloudwatch.Metric[] = [];
const of = (namespace: string, names: string[], dimensionsMap: Record<string, string>) => {
  for (const metricName of names) {
    metrics.push(new cloudwatch.Metric({ namespace, metricName, dimensionsMap, statistic: "Sum", period: cdk.Duration.minutes(1) }));
  }
};
of("AWS/Kinesis", ["GetRecords.IteratorAgeMilliseconds", "GetRecords.Latency", "WriteProvisionedThroughputExceeded",
  "ReadProvisionedThroughputExceeded", "PutRecords.FailedRecords"], { StreamName: telemetry.streamName });
for (const f of [updateStandings.lambdaFunction, updatePodiums.lambdaFunction]) {
  of("AWS/Lambda", ["Errors", "Throttles", "Duration", "IteratorAge", "Invocations", "OffsetLag", "DeadLetterErrors",
    "OnFailureDestinationDeliveredEventCount", "DroppedEventCount", "PolledEventCount"], { FunctionName: f.functionName });
}
of("AWS/Lambda", ["Errors", "Throttles", "Duration", "Invocations"], { FunctionName: transform.functionName });
for (const t of [standings, podiums]) {
  of("AWS/DynamoDB", ["WriteThrottleEvents", "ReadThrottleEvents"], { TableName: t.tableName });
}
of("AWS/Firehose", ["DeliveryToS3.DataFreshness", "DeliveryToS3.Success", "KinesisMillisBehindLatest", "ThrottledGetRecords",
  "SucceedProcessing.Records", "ThrottledDescribeStream"], { DeliveryStreamName: archive.kinesisFirehose.ref });
metrics.forEach((metric, i) => {
  const alarm = new cloudwatch.Alarm(stack, `Alarm${i}`, {
    metric,
    threshold: 0,
    evaluationPeriods: 5,
    datapointsToAlarm: 3,
    comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
    treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
  });
  alarm.addAlarmAction(new actions.SnsAction(topic));
  alarm.addOkAction(new actions.SnsAction(topic));
});
new cloudwatch.Dashboard(stack, "Dashboard", { widgets: metrics.map((m) => [new cloudwatch.GraphWidget({ left: [m], width: 12 })]) });
for (const [name, value] of Object.entries({
  StreamName: telemetry.streamName, StandingsTable: standings.tableName, PodiumsTable: podiums.tableName,
  ArchiveBucket: archive.s3Bucket!.bucketName, DeliveryStream: archive.kinesisFirehose.ref, AlarmTopic: topic.topicArn,
})) {
  new cdk.CfnOutput(stack, name, { value });
}
