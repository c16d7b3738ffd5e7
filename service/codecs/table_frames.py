"""What the process of Arrow is told, and what it answers when it decodes."""

import struct
from collections.abc import Iterator
from typing import IO, Annotated, Literal

import msgspec

from service.codecs.exports import Column
from service.errors import FieldError

_LENGTH = struct.Struct("<Q")
MAX_FRAME_BYTES = 256 * 1024 * 1024


class Task(msgspec.Struct, frozen=True, tag="decode"):
    """A body to decode.

    Attributes:
        format: What the body is.
        rows: What its rows are.
        dimensions: How long the vectors of examples are; None: no row may have one. Of predictions they are lists in
            the rows.
        max_rows: More rows are too many.
        max_decoded_bytes: How many bytes of frames are too many.
        max_row_bytes: A larger row is a bad row.
        memory_bytes: How much memory decoding may take, beside the body itself.
    """

    format: Literal["arrow", "parquet"]
    rows: Literal["examples", "predictions"]
    dimensions: int | None
    max_rows: int
    max_decoded_bytes: int
    max_row_bytes: int
    memory_bytes: int


class ExportTask(msgspec.Struct, frozen=True, tag="export"):
    """Rows to write as Parquet; they come as lines of JSON."""

    columns: list[Column]


class Place(msgspec.Struct, tag="place", array_like=True):
    """Bytes of the body, which are said to be there: it may have fewer."""

    start: Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_FRAME_BYTES)]


class Rows(msgspec.Struct, tag="rows", array_like=True):
    """Some consecutive rows.

    Attributes:
        rows: The fields of each row, as a list of maps, but for the vectors of examples.
        vectors: Those of examples, one behind the other, little-endian float32; anything for a bad row. Where they
            stand just so in the body, there is no need to send them: their place.
        hashes: Those of the vectors, one behind the other.
        problems: What is wrong with the rows at these positions.
    """

    rows: msgspec.Raw
    vectors: bytes | Place
    hashes: bytes
    problems: dict[int, FieldError]


class Failure(msgspec.Struct, tag="failure", array_like=True):
    """The body fails as a whole; `name` is that of the error."""

    name: str
    detail: str
    errors: list[FieldError] = []


class End(msgspec.Struct, tag="end", array_like=True):
    """All rows were given."""


Frame = Rows | Failure | End
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


def write_frame(file: IO[bytes], frame: Frame) -> int:
    """Write a frame; returns its size in bytes."""
    data = _encode(frame)
    file.write(_LENGTH.pack(len(data)))
    file.write(data)
    return len(data)


def read_frames(file: IO[bytes]) -> Iterator[Frame]:
    """The frames up to the end, or to where the writer has died.

    Raises:
        msgspec.MsgspecError: This is no frame.
    """
    while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
        (size,) = _LENGTH.unpack(head)
        if size > MAX_FRAME_BYTES:
            raise msgspec.DecodeError("the frame is too large")
        data = file.read(size)
        if len(data) < size:
            return
        yield _decode(data)
