"""Prints a Parquet or ORC file as JSON, as Apache Arrow reads it: types, rows, how it is packed."""

import base64
import datetime
import decimal
import json
import sys

import pyarrow
import pyorc
from pyarrow import orc, parquet

SCALARS = {
    pyorc.TypeKind[name]
    for name in ("BOOLEAN", "BYTE", "SHORT", "INT", "LONG", "FLOAT", "DOUBLE", "DECIMAL", "STRING", "CHAR", "VARCHAR", "DATE", "TIMESTAMP")
}


def plain(value):
    match value:
        case decimal.Decimal():
            return str(value)
        case int() if abs(value) > 2**53:
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


def rows(table):
    """The rows, with the nanoseconds that Python's times don't have as text."""
    for i, field in enumerate(table.schema):
        if pyarrow.types.is_timestamp(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pyarrow.string()))
    return [plain(row) for row in table.to_pylist()]


def read_parquet(path):
    file = parquet.ParquetFile(path)
    group = file.metadata.row_group(0)
    return {
        "schema": file.schema_arrow,
        "rows": rows(file.read()),
        "compression": sorted({group.column(i).compression for i in range(group.num_columns)}),
    }


def read_orc(path):
    file = orc.ORCFile(path)
    return {
        "schema": file.schema,
        "rows": rows(file.read()),
        "compression": [file.compression],
        "version": file.file_version,
        "stripes": file.nstripes,
        **indexed(path, file.row_index_stride),
    }


def indexed(path, stride):
    """What a reader of ORC that uses indexes and statistics finds; it fails if that isn't what is there."""

    def reader(**options):
        return pyorc.Reader(open(path, "rb"), struct_repr=pyorc.StructRepr.DICT, **options)

    file = reader()
    all = list(file)
    sought = 0
    for start in {n + more for n in range(0, len(all), stride) for more in (0, 1, stride // 2) if n + more < len(all)}:
        try:
            file.seek(start)
        except pyorc.ParseError as e:
            # ORC 2.3's library can't skip texts that are all empty right after a seek.
            if "lastBuffer_ is null" not in str(e):
                raise
            continue
        found = [next(file) for _ in all[start : start + 20]]
        assert found == all[start : start + 20], f"rows from {start} on: {found}"
        sought += 1
    statistics, pruned = {}, {}
    for name, kind in file.schema.fields.items():
        of = file[file.schema.find_column_id(name)].statistics
        statistics[name] = {k: plain(v) for k, v in of.items() if k != "kind"}
        values = [row[name] for row in all if row[name] is not None]
        assert of["number_of_values"] == len(values), f"{name}: {of}"
        assert of["has_null"] == (len(values) < len(all)), f"{name}: {of}"
        if kind.kind not in SCALARS or not values:
            continue
        decimals = {"precision": kind.precision, "scale": kind.scale} if kind.kind == pyorc.TypeKind.DECIMAL else {}
        column = pyorc.predicates.PredicateColumn(kind.kind, name, **decimals)
        for wanted in {values[0], values[len(values) // 2], values[-1], min(values), max(values)}:
            if kind.kind == pyorc.TypeKind.TIMESTAMP and wanted.timestamp() < 0:
                continue  # of these the library takes the fraction of a bound off, not on
            some = [row[name] for row in reader(predicate=column == wanted)]
            assert some.count(wanted) == values.count(wanted), f"{name} = {wanted}: {some.count(wanted)} of {values.count(wanted)} rows"
            pruned[name] = max(pruned.get(name, 0), len(some))
    return {"sought": sought, "statistics": statistics, "pruned": pruned}


found = read_orc(sys.argv[1]) if sys.argv[1].endswith(".orc") else read_parquet(sys.argv[1])
schema = found.pop("schema")
json.dump({"types": {field.name: str(field.type) for field in schema}, "columns": schema.names, **found}, sys.stdout)
