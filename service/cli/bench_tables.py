"""A large table uploaded at once, beside writing the same bytes to the disk."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from service.cli.bench_arrays import clouds

ARROW = "application/vnd.apache.arrow.stream"
_AT_ONCE = 65_536
_PIECE_BYTES = 1024 * 1024


def write_stream(path: Path, rng: np.random.Generator, rows: int, columns: int) -> None:
    """Write `rows` examples with vectors of float32 [columns] as an Arrow IPC stream."""
    import pyarrow as pa  # noqa: PLC0415 - the command must start quickly

    schema = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32(), columns))])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for start in range(0, rows, _AT_ONCE):
            vectors, _ = clouds(rng, min(_AT_ONCE, rows - start), columns)
            ids = pa.array([str(row) for row in range(start, start + len(vectors))])
            numbers = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), columns)
            writer.write_batch(pa.record_batch([ids, numbers], schema=schema))


def pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file as a body."""
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def seconds_to_write(path: Path) -> float:
    """How long `cat PATH > copy` and fsync take."""
    copy = path.with_suffix(".copy")
    began = time.perf_counter()
    with path.open("rb") as source, copy.open("wb") as file:
        shutil.copyfileobj(source, file, _PIECE_BYTES)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    copy.unlink()
    return seconds
