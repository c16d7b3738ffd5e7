"""Exports as Parquet, which a process of its own writes: the library stays out of this one."""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import msgspec

from service.codecs.exports import PIECE_BYTES, Column, write_ndjson

_COMMAND = (sys.executable, "-I", "-m", "service.codecs.export_process")


class ExportError(Exception):
    """The process that writes an export has failed."""


def write_parquet(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> Iterator[bytes]:
    """Rows as Parquet, in pieces of up to PIECE_BYTES, in memory that does not grow with them.

    Lists and objects are written as JSON.

    Raises:
        ExportError: The process has failed, after pieces were given out maybe.
    """
    command = [*_COMMAND, msgspec.json.encode(columns).decode()]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}) as process,  # noqa: S603 - our own program
        ThreadPoolExecutor(1) as feeder,
    ):
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the process was started without pipes")
        fed = feeder.submit(_feed, process.stdin, rows)
        try:
            while piece := process.stdout.read(PIECE_BYTES):
                yield piece
            fed.result()
            if process.wait() != 0:
                raise ExportError(f"the process that writes Parquet ended with {process.returncode}")
        finally:
            process.kill()


def _feed(stdin: IO[bytes], rows: Iterable[Mapping[str, Any]]) -> None:
    with stdin:
        for piece in write_ndjson(rows):
            stdin.write(piece)
