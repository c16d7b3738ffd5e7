"""Bodies for the tests of the codecs."""

import base64
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from service.codecs.blocks import Block
from service.codecs.bodies import decode_examples, decode_labels
from service.codecs.limits import Limits
from service.codecs.media import parse_media
from service.codecs.rows import ExampleRow, LabelRow

LIMITS = Limits(
    max_line_bytes=6000,
    max_json_bytes=1_000_000,
    max_decoded_bytes=4_000_000,
    max_rows=5000,
    table_memory_bytes=1 << 28,
)

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"


def vector64(*numbers: float) -> str:
    """Base64 of little-endian float32."""
    return base64.b64encode(np.array(numbers, dtype="<f4").tobytes()).decode()


def examples(
    body: bytes,
    media_type: str = NDJSON,
    *,
    encoding: str | None = None,
    dimensions: int | None = None,
    limits: Limits = LIMITS,
) -> Iterator[Block[ExampleRow]]:
    """The blocks of a body of examples."""
    media = parse_media(media_type, encoding, tables=True)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as file:
        file.write(body)
        file.seek(0)
        yield from decode_examples(file, media, dimensions=dimensions, limits=limits, spool_dir=Path(folder))


def labels(body: bytes, media_type: str = NDJSON, *, limits: Limits = LIMITS) -> Iterator[Block[LabelRow]]:
    """The blocks of a body of labels."""
    return decode_labels(io.BytesIO(body), parse_media(media_type, None), limits=limits)
