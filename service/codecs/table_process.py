"""The decoding of one table, in a process of its own: from the body, which is file 0, to frames in file 1."""

import mmap
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from service.codecs.table_columns import Table
from service.codecs.table_frames import End, Failure, Frame, Place, Rows, Task, write_frame
from service.errors import GleanerError, MalformedRequestError, PayloadTooLargeError, UnsupportedMediaTypeError

_MIB = 1024 * 1024
_OLDEST = 24  # before it, a file could have memory read that was given back (CVE-2026-25087)
_LEAST_CPU_SECONDS = 30
_BYTES_PER_CPU_SECOND = 4 * _MIB
_BLOCK_ROWS = 1000
_BLOCK_BYTES = 4 * _MIB
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_IPC_FILE = b"ARROW1"
_NO_IPC_FILE = (
    "The body is an Arrow IPC file (Feather), which is not read here. Send a Parquet file, or an Arrow IPC stream, as "
    "pyarrow writes it: `with pyarrow.ipc.new_stream(file, table.schema) as stream: stream.write_table(table)`."
)
_NAMES = {"arrow": "Arrow IPC stream", "parquet": "Parquet file"}


def decode(task: Task) -> None:
    """Decode the body and say how it went."""
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)  # what the library says of a body is not for the log
    size = os.fstat(0).st_size
    _limit(task, size)
    with os.fdopen(1, "wb") as out:
        write_frame(out, _decode(task, size, out))


def _limit(task: Task, size: int) -> None:
    """Give up what decoding does not need."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = {
        resource.RLIMIT_AS: pages * resource.getpagesize() + size + task.memory_bytes,
        resource.RLIMIT_CPU: _LEAST_CPU_SECONDS + size // _BYTES_PER_CPU_SECOND,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))


def _decode(task: Task, size: int, out: IO[bytes]) -> Frame:
    """Write the rows of the body; returns the last frame."""
    try:
        _check_version()
        written = 0
        for rows in _rows(task, size):
            written += write_frame(out, rows) + (rows.vectors.size if isinstance(rows.vectors, Place) else 0)
            if written > task.max_decoded_bytes:
                raise PayloadTooLargeError(f"The body holds more than {task.max_decoded_bytes} bytes, decoded.")
    except GleanerError as error:
        return Failure(error.name, error.detail, error.errors)
    except (MemoryError, pa.ArrowMemoryError):
        detail = "Decoding the body takes more memory than is allowed; send smaller record batches or row groups."
        return Failure(PayloadTooLargeError.name, detail)
    except (pa.ArrowException, OSError, ValueError, OverflowError):
        return Failure(MalformedRequestError.name, f"The body is not a whole, valid {_NAMES[task.format]}.")
    return End()


def _check_version() -> None:
    if int(pa.__version__.partition(".")[0]) < _OLDEST:
        raise UnsupportedMediaTypeError(f"Arrow and Parquet need pyarrow {_OLDEST} or newer here.")


def _rows(task: Task, size: int) -> Iterator[Rows]:
    if not size:
        return
    body = pa.py_buffer(mmap.mmap(0, size, access=mmap.ACCESS_READ))
    if body[: len(_IPC_FILE)].to_pybytes() == _IPC_FILE:
        raise MalformedRequestError(_NO_IPC_FILE)
    count = 0
    for table, batch in _arrow(task, body) if task.format == "arrow" else _parquet(task, body):
        batch.validate(full=True)
        count += len(batch)
        if count > task.max_rows:
            raise PayloadTooLargeError(f"The body has more than {task.max_rows} rows.")
        for start in range(0, len(batch), _BLOCK_ROWS):
            for part in _small(table.plain(batch.slice(start, _BLOCK_ROWS))):
                yield table.rows(part)


def _arrow(task: Task, body: pa.Buffer) -> Iterator[tuple[Table, pa.RecordBatch]]:
    source = pa.BufferReader(body)
    with pa.ipc.open_stream(source, options=pa.ipc.IpcReadOptions(use_threads=False)) as reader:
        table = Table(reader.schema, task, body)
        for batch in reader:
            yield table, batch
    # a stream that was cut between two batches reads as a shorter one
    if source.tell() != body.size or body[-len(_END_OF_STREAM) :].to_pybytes() != _END_OF_STREAM:
        raise ValueError("the stream has no end, or something follows it")


def _parquet(task: Task, body: pa.Buffer) -> Iterator[tuple[Table, pa.RecordBatch]]:
    with pq.ParquetFile(pa.BufferReader(body), pre_buffer=False) as file:
        table = Table(file.schema_arrow, task, body)
        for batch in file.iter_batches(batch_size=_BLOCK_ROWS, use_threads=False):
            yield table, batch


def _small(part: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A part in halves of halves, until one is small or a single row."""
    if len(part) <= 1 or part.nbytes <= _BLOCK_BYTES:
        yield part
        return
    middle = len(part) // 2
    yield from _small(part.slice(0, middle))
    yield from _small(part.slice(middle))
