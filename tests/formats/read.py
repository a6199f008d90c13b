"""Prints a Parquet file as JSON, as Apache Arrow reads it: types, rows, how it is packed."""

import base64
import datetime
import decimal
import json
import sys

import pyarrow.parquet as parquet


def plain(value):
    match value:
        case decimal.Decimal():
            return str(value)
        case datetime.datetime() | datetime.date():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [plain(v) for v in value]
        case tuple():
            return [plain(v) for v in value]
        case dict():
            return {k: plain(v) for k, v in value.items()}
    return value


file = parquet.ParquetFile(sys.argv[1])
group = file.metadata.row_group(0)
json.dump(
    {
        "types": {field.name: str(field.type) for field in file.schema_arrow},
        "columns": file.schema_arrow.names,
        "rows": [plain(row) for row in file.read().to_pylist()],
        "compression": sorted({group.column(i).compression for i in range(group.num_columns)}),
        "nulls": {group.column(i).path_in_schema: group.column(i).statistics.null_count for i in range(group.num_columns) if group.column(i).statistics},
    },
    sys.stdout,
)
