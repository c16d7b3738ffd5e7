"""Rows of Arrow IPC streams and Parquet, which a process of its own decodes: what reads them must be fenced in.

A few hundred bytes of Parquet can stand for gigabytes, and the libraries are large and written in C++. So they are
loaded in a process that has little memory and time, no environment and no files but the body.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGXCPU
from typing import IO, Generic, Literal

import msgspec
import numpy as np

from service.codecs.blocks import Numbered
from service.codecs.children import ARROW
from service.codecs.limits import Limits
from service.codecs.media import Media, read_chunks
from service.codecs.row_errors import explain_type, named
from service.codecs.rows import EXAMPLES, Row, RowKind
from service.codecs.table_frames import End, Failure, Frame, Place, Rows, Task, read_frames
from service.codecs.vectors import HASH, Vectors
from service.errors import (
    FieldError,
    GleanerError,
    InvalidRequestError,
    MalformedRequestError,
    PayloadTooLargeError,
    UnavailableError,
    UnsupportedMediaTypeError,
)

_DEATH_SECONDS = 10.0
_FAILURES: dict[str, type[GleanerError]] = {
    kind.name: kind
    for kind in (MalformedRequestError, InvalidRequestError, PayloadTooLargeError, UnsupportedMediaTypeError)
}

Group = tuple[Numbered[Row], list[FieldError], Vectors | None]


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
        UnavailableError: The process was lost for no fault of the body.
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
    with _unpacked(file, media, limits, spool_dir) as body:
        reader = _RowReader(kind, dimensions, body)
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
    with ARROW.at_work(msgspec.json.encode(task), body.fileno()) as child:
        try:
            last: Frame | None = None
            for last in read_frames(child.output):
                if not isinstance(last, Rows):
                    break
                yield last
            else:
                child.wait(_DEATH_SECONDS)
        except msgspec.MsgspecError as error:
            raise MalformedRequestError("The body could not be decoded.") from error
    if isinstance(last, Failure):
        raise _FAILURES.get(last.name, MalformedRequestError)(last.detail, errors=last.errors)
    if not isinstance(last, End):
        raise process_died(child.exit_code)


def process_died(exit_code: int | None) -> GleanerError:
    """What is said of a process that died without a word; we kill it ourselves only when it has said everything."""
    if exit_code is None:
        return UnavailableError("The process that decodes tables was lost; send the body again.")
    if -exit_code in {SIGKILL, SIGXCPU}:
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

    def __init__(self, kind: RowKind[Row], dimensions: int | None, body: IO[bytes]) -> None:
        self._dimensions = dimensions
        self._body = body
        self._body_left = os.fstat(body.fileno()).st_size
        self._row_type: type[Row] = kind.row_type
        self._one: msgspec.msgpack.Decoder[Row] = msgspec.msgpack.Decoder(kind.row_type)
        self._all: msgspec.msgpack.Decoder[list[Row]] = msgspec.msgpack.Decoder(
            list[kind.row_type]  # type: ignore[name-defined] # a type made at run time
        )
        self._line = 0

    def group(self, frame: Rows) -> Group[Row]:
        """The rows of a frame."""
        rows = self._rows(frame)
        vectors = self._vectors(frame.vectors)
        sizes = 4 * (self._dimensions or 0) * len(rows), HASH.itemsize * len(rows) if self._dimensions else 0
        if (len(vectors), len(frame.hashes)) != sizes:
            raise MalformedRequestError("The body could not be decoded.")
        good: Numbered[Row] = []
        errors: list[FieldError] = []
        kept = np.ones(len(rows), dtype=np.bool_)
        for position, row in enumerate(rows):
            self._line += 1
            if isinstance(row, FieldError):
                errors.append(FieldError(row.pointer, row.code, row.detail, line=self._line, id=row.id))
                kept[position] = False
            else:
                good.append((self._line, row))
        if self._dimensions is None:
            return good, errors, None
        numbers = np.frombuffer(vectors, dtype="<f4").reshape(len(rows), self._dimensions)
        return good, errors, Vectors(numbers, np.frombuffer(frame.hashes, dtype=HASH)).only(kept)

    def _vectors(self, given: bytes | Place) -> bytes:
        """Their bytes; those in the body are copied before they are checked, as its process could still write there.

        No byte of a body belongs to two rows: a process that was taken over could name the same ones without end.
        """
        if isinstance(given, bytes):
            return given
        self._body_left -= given.size
        if self._body_left < 0:
            raise MalformedRequestError("The body could not be decoded.")
        return os.pread(self._body.fileno(), given.size, given.start)

    def _rows(self, frame: Rows) -> list[Row | FieldError]:
        """Each row, or what is wrong with it. Most frames have good rows only, which are decoded fastest at once."""
        if not frame.problems:
            with suppress(msgspec.ValidationError):
                return [self._checked(row) for row in self._all.decode(frame.rows)]
        raws = msgspec.msgpack.decode(frame.rows, type=list[msgspec.Raw])
        return [frame.problems.get(position) or self._decoded(raw) for position, raw in enumerate(raws)]

    def _decoded(self, raw: msgspec.Raw) -> Row | FieldError:
        try:
            return self._checked(self._one.decode(raw))
        except msgspec.ValidationError as error:
            return named(explain_type(error, self._row_type), _key(raw))

    def _checked(self, row: Row) -> Row | FieldError:
        problem = row.problem()
        return row if problem is None else named(problem, row.key)
