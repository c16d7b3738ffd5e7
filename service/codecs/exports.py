import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

PIECE_BYTES = 64 * 1024

_PLAIN_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


ColumnKind = Literal["text", "texts", "integer", "number", "boolean", "time", "json"]


class Column(msgspec.Struct, frozen=True):
    """A column of an export; `texts` holds lists of them, `json` any lists and objects."""

    name: str
    type: ColumnKind = "text"


def write_ndjson(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Rows as lines of JSON, in pieces of about PIECE_BYTES."""
    encode = msgspec.json.Encoder().encode_into
    piece = bytearray()
    for row in rows:
        encode(row, piece, -1)
        piece += b"\n"
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[bytes]:
    """Rows as CSV with a header, in pieces of about PIECE_BYTES; nothing in it is a formula to a spreadsheet.

    Lists and objects are written as JSON, a missing value or None as an empty cell.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([_inert(column) for column in columns])
    for row in rows:
        writer.writerow([_inert(_cell(row.get(column))) for column in columns])
        if text.tell() >= PIECE_BYTES:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return msgspec.json.encode(value).decode()


def _inert(cell: str) -> str:
    """Keep a spreadsheet from running a cell (CWE-1236).

    A cell that looks as if it had been kept so gets one more quote, so that reading takes exactly one away.
    """
    if cell.lstrip("'").startswith(FORMULA_STARTS) and not _PLAIN_NUMBER.fullmatch(cell):
        return "'" + cell
    return cell


def original(cell: str) -> str:
    """The text of a cell that an export may have kept from being run: what `write_csv` was given."""
    if not cell.startswith("'"):
        return cell
    return cell[1:] if _inert(cell[1:]) == cell else cell
