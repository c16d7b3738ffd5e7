"""Exports as Parquet, which a process of its own writes: the library stays out of this one."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import msgspec

from service.codecs.children import ARROW
from service.codecs.exports import PIECE_BYTES, Column, write_ndjson
from service.codecs.table_frames import ExportTask


class ExportError(Exception):
    """The process that writes an export has failed."""


def write_parquet(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> Iterator[bytes]:
    """Rows as Parquet, in pieces of up to PIECE_BYTES, in memory that does not grow with them.

    Lists and objects are written as JSON.

    Raises:
        ExportError: The process has failed, after pieces were given out maybe.
    """
    task = msgspec.json.encode(ExportTask(list(columns)))
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as source, os.fdopen(writer, "wb") as lines:
        with ARROW.at_work(task, source.fileno()) as child, ThreadPoolExecutor(1) as feeder:
            source.close()
            fed = feeder.submit(_feed, lines, rows)
            try:
                while piece := child.output.read(PIECE_BYTES):
                    yield piece
                child.wait()
                if child.exit_code == 0:
                    fed.result()  # rows that could not be read; else it only lost who read them
            finally:
                child.end()
        if child.exit_code != 0:
            raise ExportError(f"the process that writes Parquet ended with {child.exit_code}")


def _feed(lines: IO[bytes], rows: Iterable[Mapping[str, Any]]) -> None:
    with lines:
        for piece in write_ndjson(rows):
            lines.write(piece)
