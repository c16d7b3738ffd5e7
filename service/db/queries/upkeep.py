"""What the tables name in object storage, rows that hang on nothing, and counters counted anew."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, exists, func, or_, select, text, update
from sqlalchemy.orm import Session

from service.db.queries.examples import visible
from service.db.queries.jobs import UNFINISHED
from service.db.results import changed
from service.db.tables import (
    Annotator,
    CandidateChange,
    Chunk,
    ErrorList,
    Example,
    Job,
    Label,
    Lease,
    LooseVector,
    Model,
    Outbox,
    Pool,
    Project,
)


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
        if model.artifact_key:
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


def _is_stray_lease() -> ColumnElement[bool]:
    example = exists().where(Example.project_id == Lease.project_id, Example.example_id == Lease.example_id)
    return or_(~example, ~exists().where(Job.id == Lease.job_id))


def stray_leases(session: Session) -> Sequence[Lease]:
    """Leases of an example or a job that is not there."""
    return session.scalars(select(Lease).where(_is_stray_lease())).all()


def remove_stray_lease(session: Session, lease: Lease) -> None:
    """Remove the lease if it still is one of an example or a job that is not there."""
    mine = (Lease.project_id == lease.project_id, Lease.example_id == lease.example_id, Lease.holder == lease.holder)
    changed(session, delete(Lease).where(*mine, _is_stray_lease()))


def stray_labels(session: Session) -> Sequence[Label]:
    """Labels of an example that is not there."""
    example = exists().where(Example.project_id == Label.project_id, Example.example_id == Label.example_id)
    return session.scalars(select(Label).where(~example)).all()


def _is_stray_job() -> ColumnElement[bool]:
    return and_(Job.kind != "deletion", ~exists().where(Project.id == Job.project_id))


def stray_jobs(session: Session) -> Sequence[Job]:
    """Jobs of a project that is not there; a deletion outlives its project."""
    return session.scalars(select(Job).where(_is_stray_job())).all()


def remove_stray_job(session: Session, job_id: str) -> None:
    """Remove the job if its project still is not there."""
    changed(session, delete(Job).where(Job.id == job_id, _is_stray_job()))


def _is_unrung() -> ColumnElement[bool]:
    return and_(Job.state == "queued", Job.rung_at.is_(None), ~exists().where(Outbox.job_id == Job.id))


def unrung_jobs(session: Session) -> Sequence[Job]:
    """Queued jobs that nobody will ring."""
    return session.scalars(select(Job).where(_is_unrung())).all()


def post(session: Session, job_id: str, now: datetime) -> None:
    """Have the job rung if nobody would still."""
    for job in session.scalars(select(Job).where(Job.id == job_id, _is_unrung()).with_for_update()):
        session.add(Outbox(job_id=job.id, project_id=job.project_id, ring_after=now))
    session.flush()


def forget_error_list(session: Session, list_id: str) -> None:
    """Remove a list of bad rows."""
    changed(session, delete(ErrorList).where(ErrorList.id == list_id))


def broken_references(session: Session) -> list[tuple[str, int]]:
    """Tables with rows whose foreign key names nothing, and how many; only SQLite can have them."""
    if session.get_bind().dialect.name != "sqlite":
        return []
    found: dict[str, int] = {}
    for row in session.execute(text("PRAGMA foreign_key_check")):
        found[row[0]] = found.get(row[0], 0) + 1
    return sorted(found.items())


def checkable_pools(session: Session) -> Sequence[Row[Project, Pool]]:
    """Active projects and their counters; those that a large upload holds now are still being counted."""
    query = select(Project, Pool).join(Pool, Pool.project_id == Project.id)
    return session.execute(query.where(Project.state == "active", Pool.upload_id.is_(None))).all()


def recounted(session: Session, project_id: str, *, overlap: int) -> dict[str, int]:
    """The counters of a pool, counted."""

    def count(table: type[Annotator | Example | Label | LooseVector], *conditions: Any) -> int:
        query = select(func.count()).select_from(table).where(table.project_id == project_id, *conditions)
        return session.execute(query).scalar_one()

    seen = visible(project_id)
    skipped = and_(Example.label_count == 0, Example.skip_count > 0)
    return {
        "examples": count(Example, seen),
        "examples_labeled": count(Example, seen, Example.label_count > 0),
        "examples_skipped": count(Example, seen, skipped) if overlap == 1 else 0,
        "labels_human": count(Label, Label.source == "human", ~Label.skip),
        "labels_automated": count(Label, Label.source == "automated", ~Label.skip),
        "loose_vectors": count(LooseVector),
        "programs": count(Annotator),
    }


def _answers(*, skip: bool) -> Any:
    answers = select(func.count()).select_from(Label).where(Label.skip if skip else ~Label.skip)
    same = (Label.project_id == Example.project_id) & (Label.example_id == Example.example_id)
    return answers.where(same).correlate(Example).scalar_subquery()


def miscounted(session: Session, project_id: str) -> int:
    """How many examples have other counts of labels and skips than labels and skips."""
    wrong = or_(Example.label_count != _answers(skip=False), Example.skip_count != _answers(skip=True))
    query = select(func.count()).select_from(Example).where(Example.project_id == project_id, wrong)
    return session.execute(query).scalar_one()


def recount_examples(session: Session, project_id: str) -> None:
    """Count the labels and skips of every example."""
    counts = {"label_count": _answers(skip=False), "skip_count": _answers(skip=True)}
    changed(session, update(Example).where(Example.project_id == project_id).values(counts))


def standings(session: Session, project_id: str) -> Sequence[Row[int, str, int, int]]:
    """Row, split, label_count and skip_count of every visible example."""
    columns = (Example.row, Example.split, Example.label_count, Example.skip_count)
    return session.execute(select(*columns).where(Example.project_id == project_id, visible(project_id))).all()


def forget_candidates(session: Session, project_id: str) -> None:
    """Drop all changes of who may be picked."""
    changed(session, delete(CandidateChange).where(CandidateChange.project_id == project_id))
