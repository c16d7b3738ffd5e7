"""Jobs and the outbox. Every change of a running job is fenced by its token."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, exists, func, select, union_all, update
from sqlalchemy.orm import Session, aliased

from service.db.results import changed, removed
from service.db.tables import Job, Outbox

UNFINISHED = ("queued", "running")


def get(session: Session, job_id: str) -> Job | None:
    """The job."""
    query = select(Job).where(Job.id == job_id)
    return session.execute(query, execution_options={"populate_existing": True}).scalar_one_or_none()


def page(
    session: Session, project_id: str, *, kind: str | None, state: str | None, before: str | None, size: int
) -> Sequence[Job]:
    """A project's jobs, newest first."""
    query = select(Job).where(Job.project_id == project_id).order_by(Job.id.desc()).limit(size)
    query = query.where(Job.kind == kind) if kind else query
    query = query.where(Job.state == state) if state else query
    return session.scalars(query.where(Job.id < before) if before else query).all()


def find(session: Session, project_id: str, *, kind: str, state: str) -> Job | None:
    """The first job of a kind in a state."""
    query = select(Job).where(Job.project_id == project_id, Job.kind == kind, Job.state == state)
    return session.scalars(query.order_by(Job.id).limit(1)).first()


def find_unfinished(session: Session, project_id: str, *, kind: str) -> Job | None:
    """The first job of a kind that has not ended."""
    query = select(Job).where(Job.project_id == project_id, Job.kind == kind, Job.state.in_(UNFINISHED))
    return session.scalars(query.order_by(Job.id).limit(1)).first()


def newest_of(session: Session, project_id: str, *, kind: str, payload: dict[str, Any]) -> Job | None:
    """The newest job of a kind for exactly this work."""
    query = select(Job).where(Job.project_id == project_id, Job.kind == kind, Job.payload == payload)
    return session.scalars(query.order_by(Job.id.desc()).limit(1)).first()


def trainings(session: Session, project_id: str) -> Sequence[Job]:
    """A project's trainings that have not ended: the one that runs, if any, then those that wait."""
    query = select(Job).where(Job.project_id == project_id, Job.kind == "training", Job.state.in_(UNFINISHED))
    return session.scalars(query.order_by(Job.state.desc(), Job.id)).all()


def lock_trainings(session: Session, project_id: str) -> Sequence[Job]:
    """As `trainings`, and those that wait are locked: no worker claims one before the transaction ends."""
    mine = select(Job).where(Job.project_id == project_id, Job.kind == "training")
    # Whole rows, as they are once they are locked. One that is claimed while this waits for its lock is left out: it
    # has loaded nothing yet.
    waiting = mine.where(Job.state == "queued").order_by(Job.id).with_for_update().cte("waiting")
    both = union_all(mine.where(Job.state == "running"), select(waiting))
    query = select(Job).from_statement(both.order_by(both.selected_columns.state.desc(), both.selected_columns.id))
    return session.scalars(query.execution_options(populate_existing=True)).all()


def rung_and_queued(session: Session, project_id: str) -> int:
    """How many of a project's jobs wait in Redis."""
    query = select(func.count()).select_from(Job)
    return session.execute(
        query.where(Job.project_id == project_id, Job.state == "queued", Job.rung_at.is_not(None))
    ).scalar_one()


def is_full(session: Session, limit: int, *, project_id: str | None = None) -> bool:
    """Whether so many jobs, of a project or in all, have not ended."""
    query = select(Job.id).where(Job.state.in_(UNFINISHED))
    query = query.where(Job.project_id == project_id) if project_id else query
    return session.execute(query.offset(limit - 1).limit(1)).first() is not None


def claim(session: Session, job_id: str, *, token: str, lease_until: datetime, now: datetime) -> Job | None:
    """Take a queued job; none when it is not queued, its time has not come, or its project trains already."""
    other = aliased(Job)
    busy = exists().where(
        other.project_id == Job.project_id, other.kind == "training", other.state == "running", Job.kind == "training"
    )
    # One that never ran and waits for its time may still have an old ring in Redis.
    waits = exists().where(Outbox.job_id == Job.id, Outbox.ring_after > now)
    early = (Job.attempt == 0) & Job.rung_at.is_(None) & waits
    query = update(Job).where(Job.id == job_id, Job.state == "queued", ~busy, ~early)
    values = {"state": "running", "token": token, "lease_until": lease_until, "progress_phase": "starting"}
    started = func.coalesce(Job.started_at, now)
    query = query.values(**values, attempt=Job.attempt + 1, version=Job.version + 1, started_at=started)
    options = {"synchronize_session": False, "populate_existing": True}
    job = session.scalars(query.returning(Job), execution_options=options).one_or_none()
    if job is not None:
        session.execute(delete(Outbox).where(Outbox.job_id == job_id))
    return job


def change_running(session: Session, job_id: str, held_by: str, **values: Any) -> bool:
    """Change a job that is still held by the token `held_by`; false when it is not."""
    query = update(Job).where(Job.id == job_id, Job.token == held_by, Job.state == "running")
    return changed(session, query.values(version=Job.version + 1, **values)) > 0


def change_unfinished(session: Session, job_id: str, *, states: Collection[str] = UNFINISHED, **values: Any) -> bool:
    """Change a job that has not ended, in any of these states, whoever holds it; false when it is in none of them."""
    query = update(Job).where(Job.id == job_id, Job.state.in_(states))
    return changed(session, query.values(version=Job.version + 1, **values)) > 0


def expired(session: Session, now: datetime) -> Job | None:
    """A running job whose worker has been silent past its lease."""
    query = select(Job).where(Job.state == "running", Job.lease_until < now)
    return session.scalars(query.order_by(Job.lease_until).limit(1)).first()


def lock_expired(session: Session, job_id: str, now: datetime) -> Job | None:
    """The job, locked, if its worker still is silent past its lease."""
    query = select(Job).where(Job.id == job_id, Job.state == "running", Job.lease_until < now)
    return session.scalars(query.with_for_update(), execution_options={"populate_existing": True}).first()


def lost(session: Session, *, rung_before: datetime, limit: int) -> Sequence[Job]:
    """Queued jobs that were rung some time ago: Redis may have lost them."""
    query = select(Job).where(Job.state == "queued", Job.rung_at < rung_before)
    return session.scalars(query.order_by(Job.rung_at).limit(limit)).all()


def due(session: Session, now: datetime, *, share: int, limit: int) -> Sequence[Job]:
    """Jobs of the outbox to ring now: at most `share` of a project in Redis, the projects taken in turn."""
    in_redis = (
        select(Job.project_id, func.count().label("count"))
        .where(Job.state == "queued", Job.rung_at.is_not(None))
        .group_by(Job.project_id)
        .subquery()
    )
    turn = func.row_number().over(partition_by=Job.project_id, order_by=Job.id).label("turn")
    ranked = (
        select(Job.id, turn, func.coalesce(in_redis.c.count, 0).label("in_redis"), Job.rung_at)
        .join(Outbox, Outbox.job_id == Job.id)
        .outerjoin(in_redis, in_redis.c.project_id == Job.project_id)
        .where(Job.state == "queued", Outbox.ring_after <= now)
        .subquery()
    )
    room = (ranked.c.rung_at.is_not(None)) | (ranked.c.turn + ranked.c.in_redis <= share)
    query = select(Job).join(ranked, ranked.c.id == Job.id).where(room).order_by(ranked.c.turn, Job.id)
    return session.scalars(query.limit(limit)).all()


def mark_rung(session: Session, job_ids: Iterable[str], now: datetime) -> None:
    """Note that the jobs are in Redis; their outbox rows have served.

    Whom another transaction changes now is rung once more, or has been claimed.
    """
    queued = select(Job.id).where(Job.id.in_(list(job_ids)), Job.state == "queued")
    ids = session.scalars(queued.with_for_update(skip_locked=True)).all()
    session.execute(update(Job).where(Job.id.in_(ids)).values(rung_at=now))
    session.execute(delete(Outbox).where(Outbox.job_id.in_(ids)))


def drop_finished_outbox(session: Session) -> None:
    """Forget outbox rows of jobs that no longer wait."""
    done = select(Job.id).where(Job.id == Outbox.job_id, Job.state == "queued")
    removed(session, Outbox, ~exists(done))


def oldest_pinned_generation(session: Session, project_id: str) -> int | None:
    """The oldest chunk list that a running job of the project reads."""
    query = select(func.min(Job.pinned_generation))
    return session.execute(query.where(Job.project_id == project_id, Job.state == "running")).scalar_one()


def unfinished_ids(session: Session, project_id: str, *, but: str) -> Sequence[str]:
    """A project's jobs that have not ended, except one."""
    query = select(Job.id).where(Job.project_id == project_id, Job.state.in_(UNFINISHED), Job.id != but)
    return session.scalars(query).all()


def waiting_ids(session: Session, project_id: str, *, kinds: Collection[str]) -> Sequence[str]:
    """A project's jobs of some kinds that have not begun, the oldest first."""
    query = select(Job.id).where(Job.project_id == project_id, Job.state == "queued", Job.kind.in_(kinds))
    return session.scalars(query.order_by(Job.id)).all()


def remove_all(session: Session, project_id: str, *, but: str) -> None:
    """Remove a project's jobs, except one."""
    changed(session, delete(Job).where(Job.project_id == project_id, Job.id != but))
