"""From the rows of an upload to rows that can be stored: checked against the project, hashed, spooled."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from service.actions.bulk import RowErrors, RowSpool
from service.actions.label_values import Labels
from service.codecs.blocks import Block
from service.codecs.rows import ExampleRow, content_hash, features_hash, pointer_to
from service.db.tables import Project
from service.errors import FieldError
from service.storage.chunks import ChunkWriter

_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode


class StoredRow(msgspec.Struct, array_like=True, gc=False):
    """An example as it is stored; `label` is as `service.actions.label_values` keeps it."""

    id: str
    data: str | None
    split: str
    group: str | None
    priority: float | None
    content_hash: bytes
    features_hash: bytes
    label: str | None
    annotator: str


def dimensions_of(project: Project) -> int | None:
    """How long the project's vectors are, when its features are vectors."""
    dimensions: int | None = project.features["dimensions"] if project.features["type"] == "vector" else None
    return dimensions


def text_field_of(project: Project) -> str | None:
    """The field of the data that features are read from, when they are text."""
    field_name: str | None = project.features["field"] if project.features["type"] == "text" else None
    return field_name


@dataclass(slots=True)
class Found:
    """What a body held: how many rows, and the names of the fields in their `data`."""

    received: int = 0
    fields: set[str] = field(default_factory=set)


def read(
    blocks: Iterable[Block[ExampleRow]],
    project: Project,
    labels: Labels,
    *,
    spool: RowSpool[StoredRow],
    vectors: ChunkWriter | None,
    errors: RowErrors,
) -> Found:
    """Spool the good rows, their vectors apart, and gather what is wrong with the others."""
    text_field = text_field_of(project)
    body = Found()
    for block in blocks:
        body.received += block.received
        found = [_problem(row, text_field, labels) for row in block.rows]
        matrix = block.vectors
        if any(found):
            bad = [
                replace(p, line=line, id=row.id)
                for p, line, row in zip(found, block.lines, block.rows, strict=True)
                if p
            ]
            errors.add(sorted([*block.errors, *bad], key=lambda error: error.line or 0))
            good = np.array([problem is None for problem in found])
            matrix = None if matrix is None else matrix[good]
            rows = [row for row, problem in zip(block.rows, found, strict=True) if problem is None]
        else:
            errors.add(block.errors)
            rows = block.rows
        body.fields.update(*(row.data for row in rows if row.data is not UNSET))
        spool.add(_stored(rows, matrix, text_field, labels))
        if vectors is not None and matrix is not None:
            vectors.append(matrix)
    return body


def _problem(row: ExampleRow, text_field: str | None, labels: Labels) -> FieldError | None:
    if text_field is not None:
        text = row.data.get(text_field, UNSET) if row.data is not UNSET else UNSET
        if text is UNSET:
            return FieldError(pointer_to("data", text_field), "missing_field", "The features are read from this field.")
        if not isinstance(text, str):
            return FieldError(pointer_to("data", text_field), "wrong_type", "Expected string.")
    return None if row.label is UNSET else labels.problem(row.label)


def _seen(data: dict[str, Any] | None, text_field: str | None) -> str | bytes:
    """What a model sees of an example without a vector: the text, or, as it may be the client's own, all of it."""
    return _encode_sorted(data) if text_field is None else str((data or {})[text_field])


def _stored(
    rows: list[ExampleRow], matrix: NDArray[np.float32] | None, text_field: str | None, labels: Labels
) -> list[StoredRow]:
    vectors = [None] * len(rows) if matrix is None else [memoryview(row) for row in np.ascontiguousarray(matrix)]
    stored = []
    for row, vector in zip(rows, vectors, strict=True):
        data = row.data if row.data is not UNSET else None
        features = features_hash(vector if vector is not None else _seen(data, text_field))
        stored.append(
            StoredRow(
                row.id,
                None if data is None else _encode(data).decode(),
                row.split,
                row.group,
                row.priority,
                content_hash(row, features if vector is not None else None),
                features,
                None if row.label is UNSET else labels.encode(row.label),
                "" if row.annotator is UNSET else row.annotator,
            )
        )
    return stored
