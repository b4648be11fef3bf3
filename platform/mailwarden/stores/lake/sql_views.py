"""Statements that open the lake's tables as SQL views, for DuckDB and for Spark SQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import pyarrow as pa

from mailwarden.stores.lake.tables import LakeTable

Engine = Literal["duckdb", "spark"]

ENGINES: tuple[Engine, ...] = ("duckdb", "spark")

_DERIVED = {
    "messages": ("events", "SELECT * FROM events WHERE kind = 'message'"),
    "labels": (
        "events",
        "SELECT tenant, seq, message_id, label, known_at, received_at, sender, recipients, day, bucket FROM events "
        "WHERE kind = 'label'",
    ),
    "signals": ("events", "SELECT * FROM events WHERE kind = 'signal'"),
    "tombstones": (
        "events",
        "SELECT tenant, seq, message_id, signal, known_at, received_at, day, bucket FROM events "
        "WHERE kind = 'tombstone'",
    ),
}
"""Views over views: name, what they are of, and how."""


def view_statements(tables: Iterable[LakeTable], engine: Engine) -> list[str]:
    """Statements to be run in order, each without its semicolon: each table, then `messages`, `labels`,
    `signals` and `tombstones` of `events`.

    A table without files becomes an empty view of its columns. Files are named one by one: views show the version of
    when they were made, which stays readable for the retention of `compact`; make them anew to see more.
    """
    found: list[str] = []
    names: list[str] = []
    for table in tables:
        found += [_duckdb(table)] if engine == "duckdb" else _spark(table)
        names.append(table.name)
    create = _CREATE[engine]
    found += [f"{create} {name} AS {query}" for name, (of, query) in _DERIVED.items() if of in names]
    return found


_CREATE: dict[Engine, str] = {"duckdb": "CREATE OR REPLACE VIEW", "spark": "CREATE OR REPLACE TEMPORARY VIEW"}


def _duckdb(table: LakeTable) -> str:
    nothing = ", ".join(f"NULL::{_type(field.type, 'duckdb')} AS {_quoted(field.name)}" for field in table.schema)
    query = f"SELECT {nothing} WHERE false"
    if table.files:
        files = ",\n  ".join(_text(file) for file in table.files)
        kinds = ", ".join(f"{_quoted(field.name)}: {_type(field.type, 'duckdb')}" for field in table.partitions)
        shown = ", ".join(_quoted(field.name) for field in table.schema)
        query = (
            f"SELECT {shown} FROM ({query}\nUNION ALL BY NAME SELECT * FROM read_parquet([\n  {files}\n], "
            f"union_by_name = true, hive_partitioning = true, hive_types = {{{kinds}}}))"
        )
    return f"{_CREATE['duckdb']} {_quoted(table.name)} AS {query}"


def _spark(table: LakeTable) -> list[str]:
    create = _CREATE["spark"]
    if not table.files:
        nothing = ", ".join(f"CAST(NULL AS {_type(field.type, 'spark')}) AS `{field.name}`" for field in table.schema)
        return [f"{create} `{table.name}` AS SELECT {nothing} WHERE false"]
    columns = ", ".join(f"`{field.name}` {_type(field.type, 'spark')}" for field in table.schema)
    # Spark finds partitions below one folder, and the parts of a table may lie in several.
    folders: dict[str, list[str]] = defaultdict(list)
    for file in table.files:
        base, equals, rest = file.partition("/day=")
        folders[base].append(f"day={rest}" if equals else rest)
    statements = []
    for number, (base, files) in enumerate(folders.items(), 1):
        # Spark reads a pattern: braces are alternatives, so that exactly these files are meant.
        path = f"{_escaped(base)}/{{{','.join(map(_escaped, files))}}}"
        name = table.name if len(folders) == 1 else f"{table.name}_{number}"
        options = f"path {_spark_text(path)}, basePath {_spark_text(base)}"
        statements.append(f"{create} `{name}` ({columns}) USING parquet OPTIONS ({options})")
    if len(folders) > 1:
        parts = " UNION ALL ".join(f"SELECT * FROM `{table.name}_{n}`" for n in range(1, len(folders) + 1))
        statements.append(f"{create} `{table.name}` AS {parts}")
    return statements


def _type(kind: pa.DataType, engine: Engine) -> str:
    if pa.types.is_list(kind):
        inner = _type(kind.value_type, engine)
        return f"{inner}[]" if engine == "duckdb" else f"ARRAY<{inner}>"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ" if engine == "duckdb" else "TIMESTAMP"
    names = _DUCKDB if engine == "duckdb" else _SPARK
    return next(name for test, name in names if test(kind))


_DUCKDB = (
    (pa.types.is_boolean, "BOOLEAN"), (pa.types.is_int64, "BIGINT"), (pa.types.is_integer, "INTEGER"),
    (pa.types.is_floating, "DOUBLE"), (pa.types.is_date, "DATE"), (pa.types.is_binary, "BLOB"),
    (pa.types.is_string, "VARCHAR"), (pa.types.is_large_string, "VARCHAR"),
)  # fmt: skip
_SPARK = (
    (pa.types.is_boolean, "BOOLEAN"), (pa.types.is_int64, "BIGINT"), (pa.types.is_integer, "INT"),
    (pa.types.is_floating, "DOUBLE"), (pa.types.is_date, "DATE"), (pa.types.is_binary, "BINARY"),
    (pa.types.is_string, "STRING"), (pa.types.is_large_string, "STRING"),
)  # fmt: skip


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _spark_text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _escaped(path: str) -> str:
    """A path that means itself in one of Hadoop's patterns."""
    found: Sequence[str] = ["\\" + char if char in "{}[]*?," else char for char in path]
    return "".join(found)
