"""The one way from a bulk body to rows."""

from collections.abc import Iterator
from typing import IO

from service.codecs.blocks import Block, ExampleChecks, Numbered, Parsed, finished, group
from service.codecs.csv_rows import read_csv
from service.codecs.json_rows import read_document, read_ndjson
from service.codecs.limits import Limits
from service.codecs.media import Media, read_chunks
from service.codecs.rows import EXAMPLES, LABELS, ExampleRow, LabelRow, Row, RowKind
from service.errors import FieldError, InvalidRequestError, PayloadTooLargeError


def decode_examples(
    file: IO[bytes], media: Media, *, dimensions: int | None, limits: Limits
) -> Iterator[Block[ExampleRow]]:
    """Decode an upload of examples, block by block, in memory that does not grow with the body.

    What fails as a whole may do so after blocks were given out, so nothing may be published before the end.

    Args:
        file: The body as sent, from where it stands.
        media: From `parse_media`.
        dimensions: How long vectors are, when the project's features are vectors: then each row has one. None: no
            row may have one.
        limits: What is too large.

    Raises:
        MalformedRequestError: The body is not what its media type says.
        InvalidRequestError: The document or header around the rows is wrong, or there are no rows.
        PayloadTooLargeError: A limit is exceeded.
    """
    checks = ExampleChecks(dimensions)
    for good, errors in _groups(file, media, EXAMPLES, limits, components=dimensions is not None):
        yield checks.block(good, errors)


def decode_labels(file: IO[bytes], media: Media, *, limits: Limits) -> Iterator[Block[LabelRow]]:
    """Decode a body of labels, as `decode_examples` does; labels from CSV are strings, whatever the task."""
    for good, errors in _groups(file, media, LABELS, limits, components=False):
        yield finished(good, errors)


def _groups(
    file: IO[bytes], media: Media, kind: RowKind[Row], limits: Limits, *, components: bool
) -> Iterator[tuple[Numbered[Row], list[FieldError]]]:
    chunks = read_chunks(file, media, limits)
    count = 0
    for good, errors in group(_rows(chunks, media, kind, limits, components=components)):
        count += len(good) + len(errors)
        if count > limits.max_rows:
            raise PayloadTooLargeError(f"The body has more than {limits.max_rows} rows.")
        yield good, errors
    if not count:
        raise InvalidRequestError("The body has no rows.")


def _rows(
    chunks: Iterator[bytes], media: Media, kind: RowKind[Row], limits: Limits, *, components: bool
) -> Iterator[Parsed[Row]]:
    if media.format == "ndjson":
        return read_ndjson(chunks, kind, limits)
    if media.format == "csv":
        return read_csv(chunks, kind, limits, components=components)
    return read_document(chunks, kind, limits)
