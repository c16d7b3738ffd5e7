"""Bulk bodies in and their answers out."""

from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import Field

from service.actions.bulk import Outcome
from service.api.schemas.base import FieldProblem, Schema
from service.codecs.csv_types import ColumnType
from service.codecs.media import TABLES


class BulkAnswer(Schema):
    """What became of the rows of a body."""

    received: int
    created: int
    updated: int
    unchanged: int
    rejected: int
    errors: list[FieldProblem] = Field(description="The first 100 bad rows.")
    errors_truncated: bool = Field(description="Whether `errors` leaves some bad rows out.")
    errors_url: str | None = Field(description="All bad rows as NDJSON, kept for 24 hours; null when there are none.")


class UploadAnswer(BulkAnswer):
    """What became of the examples of a body."""

    columns: dict[str, ColumnType] | None = Field(
        description="How the `data` columns of CSV were read, by all of their cells; null for other forms.",
        examples=[{"text": "text", "length": "integer"}],
    )

    @classmethod
    def of(cls, outcome: Outcome) -> "UploadAnswer":
        """From the action's outcome."""
        return cls.model_validate(outcome)


EXAMPLES_AS_TABLE = (
    "The fields of the JSON form as columns; `vector` as lists of numbers, or columns `x0`, `x1`, ...; other columns "
    "are `data`. Needs the extra `arrow`."
)


def request_body(
    name: str,
    row_type: type[msgspec.Struct],
    *,
    rows: Sequence[dict[str, Any]],
    csv: str,
    description: str,
    tables: str | None = None,
) -> dict[str, Any]:
    """The OpenAPI request body of a bulk route: the same rows in each of its media types."""
    table = {"type": "string", "format": "binary", "description": tables}
    _, components = msgspec.json.schema_components([row_type])
    row = components[row_type.__name__]
    document = {"type": "object", "required": [name], "properties": {name: {"type": "array", "items": row}}}
    lines = "".join(msgspec.json.encode(line).decode() + "\n" for line in rows)
    return {
        "requestBody": {
            "required": True,
            "description": f"{description} `Content-Encoding` may be gzip or zstd.",
            "content": {
                "application/json": {
                    "schema": {**document, "additionalProperties": False},
                    "example": {name: list(rows)},
                },
                "application/x-ndjson": {
                    "schema": {"type": "string", "description": "A row of the JSON form on each line."},
                    "example": lines,
                },
                "text/csv": {
                    "schema": {"type": "string", "description": "A header, then a row on each line."},
                    "example": csv,
                },
                **({media_type: {"schema": table} for media_type in TABLES} if tables else {}),
            },
        }
    }
