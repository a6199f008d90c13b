// Splits and aggregates with aws-kinesis-agg: a request on stdin, the answer on
// stdout. README.md says what they hold.
const { RecordAggregator, deaggregateSync } = require("aws-kinesis-agg");

function aggregate(records) {
  const a = new RecordAggregator();
  for (const r of records) {
    a.addUserRecord({ partitionKey: r.partitionKey, explicitHashKey: r.explicitHashKey, data: Buffer.from(r.data, "base64") });
  }
  const out = a.build();
  return { partitionKey: out.partitionKey, explicitHashKey: out.ExplicitHashKey, data: out.data.toString("base64") };
}

function split(data) {
  let answer;
  deaggregateSync({ partitionKey: "outer", sequenceNumber: "1", data }, true, (err, records) => {
    answer ??= err ? { error: err.message } : { records };
  });
  if (answer.error) return answer;
  if (answer.records.length === 1 && answer.records[0].subSequenceNumber === undefined) return { raw: true };
  return {
    records: answer.records.map((r) => ({
      partitionKey: r.partitionKey, explicitHashKey: r.explicitPartitionKey, data: r.data, sub: r.subSequenceNumber,
    })),
  };
}

const each = (of, f) => Object.fromEntries(Object.entries(of).map(([name, one]) => [name, f(one)]));
const chunks = [];
process.stdin.on("data", (c) => chunks.push(c)).on("end", () => {
  const request = JSON.parse(Buffer.concat(chunks));
  process.stdout.write(JSON.stringify({
    packages: ["aws-kinesis-agg", "protobufjs"].map((p) => `${p} ${require(`${p}/package.json`).version}`).join(", "),
    aggregate: each(request.aggregate, aggregate),
    split: each(request.split, (one) => split(one.data)),
  }));
});
