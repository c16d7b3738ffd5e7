"""Rows of Arrow IPC streams and Parquet, which a process of its own decodes: what reads them must be fenced in.

A few hundred bytes of Parquet can stand for gigabytes, and the libraries are large and written in C++. So they are
loaded in a process that has little memory and time, no environment and no files but the body.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGXCPU
from typing import IO, Generic, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.codecs.blocks import Numbered
from service.codecs.limits import Limits
from service.codecs.media import Media, read_chunks
from service.codecs.row_errors import explain_type, named
from service.codecs.rows import EXAMPLES, Row, RowKind
from service.codecs.table_frames import End, Failure, Frame, Rows, Task, read_frames
from service.errors import (
    FieldError,
    GleanerError,
    InvalidRequestError,
    MalformedRequestError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
)

_PIPE_BYTES = 1024 * 1024
_DEATH_SECONDS = 10.0
_COMMAND = (sys.executable, "-I", "-m", "service.codecs.table_process")
# one thread is enough, and neither library may reserve memory that the limit counts
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
_FAILURES: dict[str, type[GleanerError]] = {
    kind.name: kind
    for kind in (MalformedRequestError, InvalidRequestError, PayloadTooLargeError, UnsupportedMediaTypeError)
}

Group = tuple[Numbered[Row], list[FieldError], NDArray[np.float32] | None]


def read_table(
    file: IO[bytes], media: Media, kind: RowKind[Row], limits: Limits, *, dimensions: int | None, spool_dir: Path
) -> Iterator[Group[Row]]:
    """The rows of a table, with the vectors of examples, and its bad rows, a group at a time.

    Args:
        file: The body as sent, a real file, from its start.
        media: What it is.
        kind: What its rows are: examples or predictions.
        limits: What is too large.
        dimensions: How long the vectors of examples are; None: no row may have one.
        spool_dir: Where a compressed body is unpacked.

    Raises:
        MalformedRequestError: The body cannot be decoded.
        InvalidRequestError: Its columns are wrong, or of types that are not read.
        PayloadTooLargeError: A limit is exceeded.
        UnsupportedMediaTypeError: The installed library is too old.
    """
    form: Literal["arrow", "parquet"] = "arrow" if media.format == "arrow" else "parquet"
    task = Task(
        format=form,
        rows="examples" if kind.name == EXAMPLES.name else "predictions",
        dimensions=dimensions,
        max_rows=limits.max_rows,
        max_decoded_bytes=limits.max_decoded_bytes,
        max_row_bytes=limits.max_line_bytes,
        memory_bytes=limits.table_memory_bytes,
    )
    reader = _RowReader(kind, dimensions)
    with _unpacked(file, media, limits, spool_dir) as body:
        for frame in _frames(body, task):
            yield reader.group(frame)


@contextmanager
def _unpacked(file: IO[bytes], media: Media, limits: Limits, spool_dir: Path) -> Iterator[IO[bytes]]:
    """The body as a file that another process can map."""
    if media.coding == "identity":
        file.flush()
        yield file
        return
    with tempfile.TemporaryFile(dir=spool_dir) as plain:
        for chunk in read_chunks(file, media, limits):
            plain.write(chunk)
        plain.flush()
        yield plain


def _frames(body: IO[bytes], task: Task) -> Iterator[Rows]:
    """What the decoding process gives; it ends with the iterator."""
    command = [*_COMMAND, msgspec.json.encode(task).decode()]
    with subprocess.Popen(  # noqa: S603 - our own program
        command,
        stdin=body,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
        pipesize=_PIPE_BYTES,
    ) as process:
        if process.stdout is None:
            raise RuntimeError("the process was started without a pipe")
        try:
            last: Frame | None = None
            for last in read_frames(process.stdout):
                if not isinstance(last, Rows):
                    break
                yield last
            else:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_DEATH_SECONDS)
        except msgspec.MsgspecError as error:
            raise MalformedRequestError("The body could not be decoded.") from error
        finally:
            process.kill()
    if isinstance(last, Failure):
        raise _FAILURES.get(last.name, MalformedRequestError)(last.detail, errors=last.errors)
    if not isinstance(last, End):
        raise process_died(process.returncode)


def process_died(returncode: int) -> GleanerError:
    """What is said of a process that died without a word; we kill it ourselves only when it has said everything."""
    if -returncode in {SIGKILL, SIGXCPU}:
        return PayloadTooLargeError("Decoding the body takes more memory or time than is allowed; send it in parts.")
    return MalformedRequestError("The body could not be decoded.")


class _Key(msgspec.Struct):
    id: str


def _key(raw: msgspec.Raw) -> str:
    """The id of a row that is wrong otherwise; empty when it has none."""
    try:
        return msgspec.msgpack.decode(raw, type=_Key).id
    except msgspec.ValidationError:
        return ""


class _RowReader(Generic[Row]):
    """From frames to rows that are checked as those of other forms are."""

    def __init__(self, kind: RowKind[Row], dimensions: int | None) -> None:
        self._dimensions = dimensions
        self._row_type: type[Row] = kind.row_type
        self._decoder: msgspec.msgpack.Decoder[Row] = msgspec.msgpack.Decoder(kind.row_type)
        self._line = 0

    def group(self, frame: Rows) -> Group[Row]:
        """The rows of a frame."""
        good: Numbered[Row] = []
        errors: list[FieldError] = []
        kept = np.ones(len(frame.rows), dtype=np.bool_)
        for position, raw in enumerate(frame.rows):
            self._line += 1
            row = frame.problems.get(position) or self._row(raw)
            if isinstance(row, FieldError):
                errors.append(FieldError(row.pointer, row.code, row.detail, line=self._line, id=row.id))
                kept[position] = False
            else:
                good.append((self._line, row))
        if self._dimensions is None:
            return good, errors, None
        if len(frame.vectors) != 4 * self._dimensions * len(frame.rows):
            raise MalformedRequestError("The body could not be decoded.")
        vectors = np.frombuffer(frame.vectors, dtype="<f4").reshape(len(frame.rows), self._dimensions)
        return good, errors, vectors if kept.all() else vectors[kept]

    def _row(self, raw: msgspec.Raw) -> Row | FieldError:
        try:
            row = self._decoder.decode(raw)
        except msgspec.ValidationError as error:
            return named(explain_type(error, self._row_type), _key(raw))
        problem = row.problem()
        return row if problem is None else named(problem, row.key)
