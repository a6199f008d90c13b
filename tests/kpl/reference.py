"""Splits and aggregates with aws-kinesis-agg: a request on stdin, the answer on stdout.

README.md says what they hold.
"""
import base64
import contextlib
import io
import json
import sys
from importlib.metadata import version

from aws_kinesis_agg import aggregator, deaggregator


def aggregate(records):
    a = aggregator.RecordAggregator()
    for r in records:
        if a.add_user_record(r["partitionKey"], base64.b64decode(r["data"]), r.get("explicitHashKey")):
            raise ValueError("more than one aggregated record")
    partition_key, explicit_hash_key, data = a.clear_and_get().get_contents()
    out = {"partitionKey": partition_key, "data": base64.b64encode(data).decode()}
    if explicit_hash_key is not None:
        out["explicitHashKey"] = explicit_hash_key
    return out


def split(data):
    record = {"kinesis": {
        "kinesisSchemaVersion": "1.0", "sequenceNumber": "1", "approximateArrivalTimestamp": 0,
        "partitionKey": "outer", "data": data,
    }}
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            found = deaggregator.deaggregate_records([record])
    except Exception as e:
        return {"error": type(e).__name__}
    if [record] == found:
        return {"raw": True}
    records = []
    for r in found:
        k = r["kinesis"]
        one = {"partitionKey": k["partitionKey"], "data": k["data"].decode(), "sub": k["subSequenceNumber"]}
        if k["explicitHashKey"] is not None:
            one["explicitHashKey"] = k["explicitHashKey"]
        records.append(one)
    return {"records": records}


request = json.load(sys.stdin)
json.dump({
    "packages": ", ".join(f"{p} {version(p)}" for p in ("aws-kinesis-agg", "protobuf")),
    "aggregate": {name: aggregate(records) for name, records in request["aggregate"].items()},
    "split": {name: split(one["data"]) for name, one in request["split"].items()},
}, sys.stdout, default=lambda b: b.decode(errors="replace"))  # a key that isn't UTF-8 is bytes
