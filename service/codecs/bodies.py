"""The one way from a bulk body to rows."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from service.codecs.blocks import Block, ExampleChecks, Numbered, Parsed, SeenIds, finished, group, without_repeated
from service.codecs.csv_rows import infer_types, read_csv
from service.codecs.csv_types import ColumnType
from service.codecs.json_rows import read_document, read_ndjson
from service.codecs.limits import Limits
from service.codecs.media import Media, read_chunks
from service.codecs.rows import EXAMPLES, LABELS, PREDICTIONS, ExampleRow, LabelRow, PredictionRow, Row, RowKind
from service.codecs.tables import read_table
from service.errors import FieldError, InvalidRequestError, PayloadTooLargeError


def column_types(
    file: IO[bytes], media: Media, *, dimensions: int | None, limits: Limits
) -> dict[str, ColumnType] | None:
    """The types of the columns of an upload in CSV that are `data`, inferred from the whole body, which is read again.

    Returns:
        None for other forms, whose values say what they are.

    Raises:
        GleanerError: As `decode_examples` does.
    """
    if media.format != "csv":
        return None
    types = infer_types(read_chunks(file, media, limits), EXAMPLES, limits, components=dimensions is not None)
    file.seek(0)
    return types


def decode_examples(
    file: IO[bytes],
    media: Media,
    *,
    dimensions: int | None,
    limits: Limits,
    spool_dir: Path,
    types: Mapping[str, ColumnType] | None = None,
) -> Iterator[Block[ExampleRow]]:
    """Decode an upload of examples, block by block, in memory that does not grow with the body.

    What fails as a whole may do so after blocks were given out, so nothing may be published before the end.

    Args:
        file: The body as sent, from where it stands; a table from its start, and a real file.
        media: From `parse_media`.
        dimensions: How long vectors are, when the project's features are vectors: then each row has one. None: no
            row may have one.
        limits: What is too large.
        spool_dir: Where a compressed table is unpacked.
        types: Of the columns of data in CSV, which are text otherwise.

    Raises:
        MalformedRequestError: The body is not what its media type says.
        InvalidRequestError: The document or header around the rows is wrong, or there are no rows.
        PayloadTooLargeError: A limit is exceeded.
    """
    checks = ExampleChecks(dimensions)
    if media.is_table:
        groups = read_table(file, media, EXAMPLES, limits, dimensions=dimensions, spool_dir=spool_dir)
    else:
        parsed = group(_rows(file, media, EXAMPLES, limits, components=dimensions is not None, types=types))
        groups = ((good, errors, None) for good, errors in parsed)
    count = _Count(limits.max_rows)
    for good, errors, vectors in groups:
        count.add(len(good) + len(errors))
        yield checks.block(good, errors, vectors)
    count.finish()


def decode_labels(file: IO[bytes], media: Media, *, limits: Limits) -> Iterator[Block[LabelRow]]:
    """Decode a body of labels, as `decode_examples` does; labels from CSV are strings, whatever the task."""
    count = _Count(limits.max_rows)
    for good, errors in group(_rows(file, media, LABELS, limits, components=False)):
        count.add(len(good) + len(errors))
        yield finished(good, errors)
    count.finish()


def decode_predictions(
    file: IO[bytes], media: Media, *, limits: Limits, spool_dir: Path
) -> Iterator[Block[PredictionRow]]:
    """Decode an upload of predictions, as `decode_examples` does; vectors stay in the rows."""
    groups: Iterator[tuple[Numbered[PredictionRow], list[FieldError]]]
    if media.is_table:
        tables = read_table(file, media, PREDICTIONS, limits, dimensions=None, spool_dir=spool_dir)
        groups = ((good, errors) for good, errors, _ in tables)
    else:
        groups = group(_rows(file, media, PREDICTIONS, limits, components=True))
    count, seen = _Count(limits.max_rows), SeenIds()
    for good, errors in groups:
        count.add(len(good) + len(errors))
        yield finished(without_repeated(good, seen, errors), errors)
    count.finish()


class _Count:
    """How many rows a body has: neither none nor too many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows = 0

    def add(self, rows: int) -> None:
        self._rows += rows
        if self._rows > self._most:
            raise PayloadTooLargeError(f"The body has more than {self._most} rows.")

    def finish(self) -> None:
        if not self._rows:
            raise InvalidRequestError(
                "The body has no rows. If curl sends a file: `--data-binary` keeps the ends of lines, `-d` does not."
            )


def _rows(
    file: IO[bytes],
    media: Media,
    kind: RowKind[Row],
    limits: Limits,
    *,
    components: bool,
    types: Mapping[str, ColumnType] | None = None,
) -> Iterator[Parsed[Row]]:
    chunks = read_chunks(file, media, limits)
    if media.format == "ndjson":
        return read_ndjson(chunks, kind, limits)
    if media.format == "csv":
        return read_csv(chunks, kind, limits, components=components, types=types)
    return read_document(chunks, kind, limits)
