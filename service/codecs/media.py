"""What a body says it is, and its bytes in chunks of a bounded size."""

import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import IO, Literal, Protocol

from service.codecs.limits import Limits
from service.errors import MalformedRequestError, PayloadTooLargeError, UnsupportedMediaTypeError

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

CHUNK_BYTES = 1024 * 1024
# compressed bodies are read in smaller pieces: what follows a member is copied, so many tiny ones would be slow
_PACKED_BYTES = 16 * 1024
_GZIP_WINDOW = 31
# what RFC 9659 lets a decoder of HTTP refuse to go beyond: 8 MiB
_ZSTD_WINDOW: dict[int, int] = {DecompressionParameter.window_log_max: 23}

Format = Literal["json", "ndjson", "csv", "arrow", "parquet"]
Coding = Literal["identity", "gzip", "zstd"]
FORMATS: dict[str, Format] = {"application/json": "json", "application/x-ndjson": "ndjson", "text/csv": "csv"}
TABLES: dict[str, Format] = {
    "application/vnd.apache.arrow.stream": "arrow",
    "application/vnd.apache.parquet": "parquet",
}
CODINGS: dict[str, Coding] = {"identity": "identity", "gzip": "gzip", "zstd": "zstd"}


@dataclass(frozen=True, slots=True)
class Media:
    """Format of a bulk body, and how it is compressed."""

    format: Format
    coding: Coding

    @property
    def is_table(self) -> bool:
        """Whether it has typed columns, which a process of its own decodes."""
        return self.format in TABLES.values()


def parse_media(media_type: str | None, encoding: str | None, *, tables: bool = False) -> Media:
    """Read the headers Content-Type and Content-Encoding; done before the body is, so that a wrong one costs nothing.

    Args:
        media_type: The header Content-Type.
        encoding: The header Content-Encoding.
        tables: Whether Arrow and Parquet are read as well.

    Raises:
        UnsupportedMediaTypeError: One of them is not read here; the detail names those that are.
    """
    essence, *parameters = (part.strip() for part in (media_type or "").split(";"))
    known = {**FORMATS, **TABLES} if tables else FORMATS
    chosen = known.get(essence.lower())
    if chosen is None:
        raise UnsupportedMediaTypeError(f"The Content-Type must be one of {', '.join(known)}.")
    if essence.lower() in TABLES and find_spec("pyarrow") is None:
        raise UnsupportedMediaTypeError("Arrow and Parquet are read where the extra `arrow` of gleaner is installed.")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in {"utf-8", "utf8"}:
            raise UnsupportedMediaTypeError("Only charset=utf-8 is read.")
    coding = CODINGS.get((encoding or "identity").strip().lower())
    if coding is None:
        raise UnsupportedMediaTypeError(f"The Content-Encoding must be one of {', '.join(CODINGS)}.")
    return Media(chosen, coding)


def read_chunks(file: IO[bytes], media: Media, limits: Limits) -> Iterator[bytes]:
    """The decompressed body in chunks of CHUNK_BYTES to twice that (the last may be shorter), never all at once.

    Raises:
        MalformedRequestError: The compression is broken, cut off or followed by something else.
        PayloadTooLargeError: There is more than `max_decoded_bytes` (for a JSON document: `max_json_bytes`).
    """
    limit = min(limits.max_json_bytes, limits.max_decoded_bytes) if media.format == "json" else limits.max_decoded_bytes
    if media.coding == "identity":
        return _bounded(iter(lambda: file.read(CHUNK_BYTES), b""), limit)
    return _bounded(_regrouped(_decompressed(iter(lambda: file.read(_PACKED_BYTES), b""), media.coding)), limit)


class _Member(Protocol):
    """The decoder of one member of a compressed body, as those of the standard library are."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _GzipMember:
    """zlib's decoder, which alone gives back the input that its bound on output has left."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)


def _zstd_member() -> _Member:
    return ZstdDecompressor(options=_ZSTD_WINDOW)


_MEMBERS: dict[Coding, Callable[[], _Member]] = {"gzip": _GzipMember, "zstd": _zstd_member}


def _decompressed(chunks: Iterator[bytes], coding: Coding) -> Iterator[bytes]:
    """The members of a body one after another, in pieces of at most CHUNK_BYTES."""
    new = _MEMBERS[coding]
    member = new()
    try:
        for chunk in chunks:
            data = chunk
            while data:
                if member.eof:
                    member = new()
                piece = member.decompress(data, CHUNK_BYTES)
                yield piece
                while len(piece) == CHUNK_BYTES and not member.eof:
                    # the bound on output has kept some of it back
                    piece = member.decompress(b"", CHUNK_BYTES)
                    yield piece
                data = member.unused_data if member.eof else b""
    except zlib.error as error:
        raise MalformedRequestError("The body is not valid gzip.") from error
    except ZstdError as error:
        raise MalformedRequestError("The body is not valid zstd with a window of at most 8 MiB.") from error
    if not member.eof:
        raise MalformedRequestError(f"The {coding} body ends too early.")


def _regrouped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join small pieces: readers copy what a chunk leaves over, which many tiny chunks would make quadratic."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= CHUNK_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _bounded(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > limit:
            raise PayloadTooLargeError(f"The body holds more than {limit} bytes, decompressed.")
        yield chunk
