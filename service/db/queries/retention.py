"""Rows that have served."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from service.db.queries.annotators import OPEN
from service.db.queries.jobs import UNFINISHED
from service.db.results import added, changed, removed
from service.db.tables import (
    AnnotatorCall,
    Autolabel,
    Batch,
    Chunk,
    Job,
    Lease,
    Model,
    Pool,
    Project,
    Ranking,
    Removal,
)

_OF_A_VERSION = ("predict", "export", "measuring")  # kinds of jobs whose message names the version that they read


def remove_expired_leases(session: Session, now: datetime) -> int:
    """Forget leases that ran out."""
    return removed(session, Lease, Lease.expires_at <= now)


def lock_ended_jobs(session: Session, *, before: datetime, now: datetime, limit: int) -> Sequence[Row[str, int | None]]:
    """Jobs that ended before a time and that nothing needs, locked: ids, and sizes of their batches; the oldest first.

    Left out are those that others have locked, and those that are kept as records already.
    """
    query = select(Job.id, Batch.size).outerjoin(Batch, Batch.job_id == Job.id)
    query = query.where(Job.finished_at < before, Job.removed_at.is_(None), ~_is_needed(now))
    query = query.order_by(Job.finished_at).limit(limit)
    return session.execute(query.with_for_update(of=Job, skip_locked=True)).all()


def _is_needed(now: datetime) -> ColumnElement[bool]:
    """Whether examples of its batch are promised or prepared, a program has not answered, or a group tells of it.

    Or it trained a model that can serve: what changed since it began may be another than what the model learnt.
    """
    leased = exists().where(Lease.job_id == Job.id, Lease.expires_at > now)
    called = exists().where(AnnotatorCall.job_id == Job.id, AnnotatorCall.state.in_(OPEN))
    columns = (Ranking.job_id, Ranking.asked_job_id, Autolabel.job_id, Autolabel.revocation_job_id)
    named = [Job.id.in_(select(column).where(column.is_not(None))) for column in columns]
    trained = Job.id.in_(select(Model.job_id).where(Model.artifact_key != ""))
    return or_(leased, called, trained, *named)


def remove_jobs(session: Session, job_ids: Sequence[str]) -> None:
    """Remove jobs, with batches that hold nothing."""
    changed(session, delete(Job).where(Job.id.in_(job_ids)))


def keep_records(session: Session, job_ids: Sequence[str], *, now: datetime) -> None:
    """Remove the bodies of batches, and keep what they held: it says where labels come from."""
    changed(session, update(Batch).where(Batch.job_id.in_(job_ids)).values(body=b""))
    changed(session, update(Job).where(Job.id.in_(job_ids)).values(removed_at=now))


def old_files(*, newest: int, before: datetime) -> Select[Model]:
    """Trained models that have a file, none of the newest so many of a project, that served last before a time."""
    place = func.row_number().over(partition_by=Model.project_id, order_by=Model.version.desc()).label("place")
    mine = select(Model.project_id, Model.version, place).where(Model.name.is_(None), Model.artifact_key != "")
    ranked = mine.subquery()
    same = (ranked.c.project_id == Model.project_id) & (ranked.c.version == Model.version)
    return _superseded(before).join(ranked, same).where(ranked.c.place > newest)


def old_predictions(*, before: datetime) -> Select[Model]:
    """The clients' own models whose predictions are there and that served last before a time."""
    closed = (Model.name.is_not(None), Model.open.is_(False), Model.removed_at.is_(None))
    return _superseded(before).where(*closed)


def _superseded(before: datetime) -> Select[Model]:
    served = func.coalesce(Model.superseded_at, Model.created_at)
    query = select(Model).join(Project, Project.id == Model.project_id).join(Pool, Pool.project_id == Model.project_id)
    return query.where(Project.state == "active", Model.version != Pool.model_version, served < before)


def projects_of(session: Session, models: Select[Model]) -> Sequence[str]:
    """The projects of some models."""
    return session.scalars(models.with_only_columns(Model.project_id).distinct()).all()


def models_of(session: Session, project_id: str, models: Select[Model], *, limit: int) -> Sequence[Model]:
    """Those of some models that are of a project, the oldest first."""
    return session.scalars(models.where(Model.project_id == project_id).order_by(Model.version).limit(limit)).all()


def projects_with_retired_chunks(session: Session) -> Sequence[str]:
    """Active projects whose lists have lost chunks that are still there."""
    query = select(Chunk.project_id).join(Project, Project.id == Chunk.project_id)
    return session.scalars(query.where(Chunk.retired.is_not(None), Project.state == "active").distinct()).all()


def first_start(session: Session, project_id: str) -> datetime | None:
    """When the first of the project's jobs that run now was begun."""
    query = select(func.min(Job.started_at)).where(Job.project_id == project_id, Job.state == "running")
    return session.execute(query).scalar_one()


def versions_asked(session: Session, project_id: str) -> set[int]:
    """The versions that jobs which have not ended were asked to read."""
    query = select(Job.payload).where(Job.project_id == project_id, Job.kind.in_(_OF_A_VERSION))
    payloads: Sequence[dict[str, Any]] = session.scalars(query.where(Job.state.in_(UNFINISHED))).all()
    return {payload["version"] for payload in payloads}


def count(session: Session, kind: str, number: int) -> None:
    """Count what was removed."""
    more = update(Removal).where(Removal.kind == kind).values(total=Removal.total + number)
    if not changed(session, more) and not added(session, Removal(kind=kind, total=number)):
        changed(session, more)  # another was faster with the first of them
