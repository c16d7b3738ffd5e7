"""What the tables name in object storage."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.db.queries.jobs import UNFINISHED
from service.db.tables import Chunk, ErrorList, Job, Model, Pool, Project


@dataclass(frozen=True, slots=True)
class Named:
    """Objects that a row names.

    Attributes:
        kind: chunk | model | snapshot | inputs | errors.
        project_id: Whose.
        key: What the keys of the objects start with.
        row: The row.
    """

    kind: str
    project_id: str
    key: str
    row: Any


def named(session: Session) -> Iterator[Named]:
    """Everything that is named; a project that is being deleted names nothing: its files go before its rows."""
    active = select(Project.id).where(Project.state == "active")
    for chunk in session.scalars(select(Chunk).where(Chunk.project_id.in_(active)).order_by(Chunk.key)):
        yield Named("chunk", chunk.project_id, chunk.key, chunk)
    for model in session.scalars(select(Model).where(Model.project_id.in_(active))):
        yield Named("model", model.project_id, model.artifact_key, model)
    for pool in session.scalars(select(Pool).where(Pool.project_id.in_(active), Pool.snapshot_key.is_not(None))):
        yield Named("snapshot", pool.project_id, pool.snapshot_key or "", pool)
    predictions = select(Job).where(Job.kind == "predict", Job.state.in_(UNFINISHED), Job.project_id.in_(active))
    for job in session.scalars(predictions):
        yield Named("inputs", job.project_id, job.payload["inputs_key"], job)
    for kept in session.scalars(select(ErrorList).where(ErrorList.project_id.in_(active))):
        yield Named("errors", kept.project_id, kept.key, kept)


def deleting(session: Session) -> set[str]:
    """Projects that are being deleted."""
    return set(session.scalars(select(Project.id).where(Project.state == "deleting")))
