"""Figures of the whole service, for its operators: what waits, since when, and what ended."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Integer, Row, and_, case, func, or_, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session, aliased

from service.db.tables import Delivery, DeliveryAttempt, Job, Model, Outbox, Pool, Project, Removal, Webhook

_AT_ONCE = 1000


class Ended(NamedTuple):
    """A job that ended."""

    id: str
    kind: str
    state: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime


class Attempt(NamedTuple):
    """An attempt to deliver a webhook; its id grows."""

    id: int
    duration_ms: int
    status: int | None


class Uncovered(NamedTuple):
    """Changes of labels that the serving models do not cover."""

    most: int
    all: int
    failed_projects: int
    asked_at: datetime | None


class Deliveries(NamedTuple):
    """Deliveries that wait, those of them that failed before, and when the oldest was made and the latest due."""

    pending: int
    retried: int
    made_at: datetime | None
    due_at: datetime | None


class Totals(NamedTuple):
    """What is held."""

    projects: int
    examples: int
    human_labels: int
    automated_labels: int


def waiting(session: Session, now: datetime) -> Sequence[Row[str, int, datetime | None]]:
    """Queue, jobs that wait, and when the oldest was made of those that could begin."""
    running = aliased(Job)
    trains = select(running.project_id).where(running.kind == "training", running.state == "running")
    later = or_(Outbox.ring_after > now, and_(Job.kind == "training", Job.project_id.in_(trains)))
    oldest = func.min(case((func.coalesce(later, False), None), else_=Job.created_at), type_=Job.created_at.type)
    query = select(Job.queue, func.count(), oldest).outerjoin(Outbox, Outbox.job_id == Job.id)
    return session.execute(query.where(Job.state == "queued").group_by(Job.queue)).all()


def running(session: Session) -> Sequence[Row[str, int]]:
    """Kind, and jobs that run."""
    return session.execute(select(Job.kind, func.count()).where(Job.state == "running").group_by(Job.kind)).all()


def trainings_behind(session: Session) -> int:
    """Trainings that wait for another of their project to end."""
    other = aliased(Job)
    ahead = select(other.project_id).where(other.kind == "training", other.state == "running")
    query = select(func.count()).select_from(Job)
    waits = query.where(Job.kind == "training", Job.state == "queued", Job.project_id.in_(ahead))
    return session.execute(waits).scalar_one()


def uncovered(session: Session, now: datetime) -> Uncovered:
    """What serving models do not cover, in projects that train.

    Also how many of these had a training that ended without a model, and when the one was due that is asked for latest.
    """
    missing = Pool.label_generation - func.coalesce(Model.label_generation, 0)
    failed = and_(Pool.attempted_generation > Pool.trained_generation, ~Project.paused)
    asked = func.min(case((Pool.train_at <= now, Pool.train_at)), type_=Pool.train_at.type)
    query = (
        select(func.max(missing), func.sum(missing), func.sum(sql_cast(failed, Integer)), asked)
        .select_from(Pool)
        .join(Project, Project.id == Pool.project_id)
        .outerjoin(Model, and_(Model.project_id == Pool.project_id, Model.version == Pool.model_version))
        .where(Project.state == "active", func.coalesce(Pool.pin, "trained") == "trained")
    )
    most, total, failures, asked_at = session.execute(query).one()
    return Uncovered(int(most or 0), int(total or 0), int(failures or 0), asked_at)


def deliveries(session: Session, now: datetime) -> Deliveries:
    """What waits for an attempt, now or later."""
    late = func.min(case((Delivery.next_attempt_at <= now, Delivery.next_attempt_at)), type_=Delivery.created_at.type)
    query = select(func.count(), func.count(case((Delivery.attempt > 0, 1))), func.min(Delivery.created_at), late)
    query = query.join(Webhook, Webhook.id == Delivery.webhook_id).where(Webhook.enabled)
    query = query.where(Delivery.state == "pending", Delivery.next_attempt_at.is_not(None))
    return Deliveries._make(session.execute(query).one())


def outbox(session: Session, now: datetime) -> Row[int, datetime | None]:
    """Jobs to be rung, and since when the oldest should have been."""
    due = func.min(case((Outbox.ring_after <= now, Outbox.ring_after)), type_=Outbox.ring_after.type)
    return session.execute(select(func.count(), due).select_from(Outbox)).one()


def totals(session: Session) -> Totals:
    """Sums over all projects."""
    sums = (func.coalesce(func.sum(one), 0) for one in (Pool.examples, Pool.labels_human, Pool.labels_automated))
    return Totals._make(map(int, session.execute(select(func.count(), *sums).select_from(Pool)).one()))


def removed(session: Session) -> dict[str, int]:
    """How many were removed as their time was over, by kind."""
    return {row.kind: row.total for row in session.execute(select(Removal.kind, Removal.total))}


def ended(session: Session, since: datetime) -> Iterator[Ended]:
    """Jobs that ended at a time or later."""
    columns = (Job.id, Job.kind, Job.state, Job.created_at, Job.started_at, Job.finished_at)
    query = select(*columns).where(Job.finished_at >= since, Job.removed_at.is_(None))  # as the index says
    return (Ended._make(row) for row in session.execute(query.execution_options(yield_per=_AT_ONCE)))


def newest_attempt(session: Session) -> int:
    """The id of the last attempt of a delivery; 0: none."""
    return session.execute(select(func.coalesce(func.max(DeliveryAttempt.id), 0))).scalar_one()


def attempts(session: Session, after: int) -> Iterator[Attempt]:
    """Attempts with a greater id."""
    columns = (DeliveryAttempt.id, DeliveryAttempt.duration_ms, DeliveryAttempt.status)
    query = select(*columns).where(DeliveryAttempt.id > after).execution_options(yield_per=_AT_ONCE)
    return (Attempt._make(row) for row in session.execute(query))
