"""What a body says it is, and its bytes in chunks of a bounded size."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Literal

from service.codecs.limits import Limits
from service.errors import MalformedRequestError, PayloadTooLargeError, UnsupportedMediaTypeError

CHUNK_BYTES = 1024 * 1024
_GZIP_WINDOW = 31

Format = Literal["json", "ndjson", "csv"]
FORMATS: dict[str, Format] = {"application/json": "json", "application/x-ndjson": "ndjson", "text/csv": "csv"}


@dataclass(frozen=True, slots=True)
class Media:
    """Format of a bulk body, and whether it is compressed."""

    format: Format
    gzip: bool


def parse_media(media_type: str | None, encoding: str | None) -> Media:
    """Read the headers Content-Type and Content-Encoding; done before the body is, so that a wrong one costs nothing.

    Raises:
        UnsupportedMediaTypeError: One of them is not read here; the detail names those that are.
    """
    essence, *parameters = (part.strip() for part in (media_type or "").split(";"))
    chosen = FORMATS.get(essence.lower())
    if chosen is None:
        raise UnsupportedMediaTypeError(f"The Content-Type must be one of {', '.join(FORMATS)}.")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in {"utf-8", "utf8"}:
            raise UnsupportedMediaTypeError("Only charset=utf-8 is read.")
    coding = (encoding or "identity").strip().lower()
    if coding not in {"identity", "gzip"}:
        raise UnsupportedMediaTypeError("The Content-Encoding must be gzip or identity.")
    return Media(chosen, gzip=coding == "gzip")


def read_chunks(file: IO[bytes], media: Media, limits: Limits) -> Iterator[bytes]:
    """The decompressed body in chunks of CHUNK_BYTES to twice that (the last may be shorter), never all at once.

    Raises:
        MalformedRequestError: The compression is broken, cut off or followed by something else.
        PayloadTooLargeError: There is more than `max_decoded_bytes` (for a JSON document: `max_json_bytes`).
    """
    chunks = iter(lambda: file.read(CHUNK_BYTES), b"")
    limit = min(limits.max_json_bytes, limits.max_decoded_bytes) if media.format == "json" else limits.max_decoded_bytes
    return _bounded(_regrouped(_gunzip(chunks)) if media.gzip else chunks, limit)


def _gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP_WINDOW)
    try:
        for chunk in chunks:
            data = chunk
            while data:
                if member.eof:
                    member = zlib.decompressobj(_GZIP_WINDOW)
                yield member.decompress(data, CHUNK_BYTES)
                data = member.unused_data if member.eof else member.unconsumed_tail
        while not member.eof:
            # all input is in, but the output bound may have kept some of it back
            rest = member.decompress(b"", CHUNK_BYTES)
            if not rest:
                raise MalformedRequestError("The gzip body ends too early.")
            yield rest
    except zlib.error as error:
        raise MalformedRequestError("The body is not valid gzip.") from error


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
