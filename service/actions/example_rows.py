"""From the rows of an upload to rows that can be stored: checked against the project, hashed, spooled."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
from msgspec import UNSET

from service.actions.bulk import RowErrors, RowSpool
from service.actions.contents import Content, content_of
from service.actions.label_values import Labels
from service.actions.programs import OF_PROGRAM
from service.codecs.blocks import Block
from service.codecs.rows import ExampleRow, content_hash, features_hash
from service.codecs.vectors import Vectors
from service.db.tables import Project
from service.errors import FieldError
from service.storage.chunks import ChunkWriter

_encode = msgspec.json.Encoder().encode


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
    gold: str | None = None


def dimensions_of(project: Project) -> int | None:
    """How long the project's vectors are, when its features are vectors."""
    dimensions: int | None = project.features["dimensions"] if project.features["type"] == "vector" else None
    return dimensions


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
    programs: Collection[str],
    spool: RowSpool[StoredRow],
    vectors: ChunkWriter | None,
    errors: RowErrors,
) -> Found:
    """Spool the good rows, their vectors apart, and gather what is wrong with the others.

    No label comes with an example under the name of one of the `programs`.
    """
    content = content_of(project)
    body = Found()
    for block in blocks:
        body.received += block.received
        found = [_problem(row, content, labels, programs) for row in block.rows]
        given = block.vectors
        if any(found):
            bad = [
                replace(p, line=line, id=row.id)
                for p, line, row in zip(found, block.lines, block.rows, strict=True)
                if p
            ]
            errors.add(sorted([*block.errors, *bad], key=lambda error: error.line or 0))
            good = np.array([problem is None for problem in found])
            given = None if given is None else given.only(good)
            rows = [row for row, problem in zip(block.rows, found, strict=True) if problem is None]
        else:
            errors.add(block.errors)
            rows = block.rows
        body.fields.update(*(row.data for row in rows if row.data is not UNSET))
        spool.add(_stored(rows, given, content, labels))
        if vectors is not None and given is not None:
            vectors.append(given.numbers)
    return body


def _problem(row: ExampleRow, content: Content, labels: Labels, programs: Collection[str]) -> FieldError | None:
    problem = content.problem(None if row.data is UNSET else row.data)
    if problem is not None or row.label is UNSET:
        return problem
    return OF_PROGRAM if row.annotator in programs else labels.problem(row.label)


def _stored(rows: list[ExampleRow], vectors: Vectors | None, content: Content, labels: Labels) -> list[StoredRow]:
    hashes = [None] * len(rows) if vectors is None else vectors.hashes.tolist()
    stored = []
    for row, vector_hash in zip(rows, hashes, strict=True):
        data = row.data if row.data is not UNSET else None
        answer = None if row.label is UNSET else labels.encode(row.label)
        features = features_hash(content.seen(data)) if vector_hash is None else vector_hash
        stored.append(
            StoredRow(
                row.id,
                None if data is None else _encode(data).decode(),
                row.split,
                row.group,
                row.priority,
                content_hash(row, vector_hash),
                features,
                None if row.split == "gold" else answer,
                "" if row.annotator is UNSET else row.annotator,
                answer if row.split == "gold" else None,
            )
        )
    return stored
