"""The writing of one export, in a process of its own: from lines of JSON in file 0 to Parquet in file 1."""

import os
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from service.codecs.exports import Column
from service.codecs.table_frames import ExportTask

_GROUP_ROWS = 50_000
_GROUP_BYTES = 32 * 1024 * 1024
_TYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
    "json": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("us", "UTC"),
}


class _Pipe:
    """A pipe that knows how much was written to it, which Parquet must know."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._written = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.flush()


def export(task: ExportTask) -> None:
    """Write what comes in."""
    schema = pa.schema([(column.name, _TYPES[column.type]) for column in task.columns])
    with (
        os.fdopen(0, "rb") as lines,
        os.fdopen(1, "wb") as out,
        pq.ParquetWriter(_Pipe(out), schema, compression="zstd") as writer,
    ):
        for rows in _groups(lines):
            values = [pa.array([_cell(row.get(c.name), c) for row in rows], type=_TYPES[c.type]) for c in task.columns]
            writer.write_batch(pa.record_batch(values, schema=schema))


def _groups(lines: IO[bytes]) -> Iterator[list[dict[str, Any]]]:
    """Rows by groups that are bounded in rows and in bytes."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    rows: list[dict[str, Any]] = []
    size = 0
    for line in lines:
        rows.append(decode(line))
        size += len(line)
        if len(rows) >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _cell(value: Any, column: Column) -> Any:
    if value is None:
        return None
    if column.type == "json":
        return msgspec.json.encode(value).decode()
    return datetime.fromisoformat(value) if column.type == "time" else value
