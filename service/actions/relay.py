"""What must be rung in Redis, and what its worker lost."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.orm import Session

from service.actions import jobs
from service.db.queries import jobs as queries
from service.queue.messages import Ring


def due(session: Session, *, share: int, limit: int, now: datetime) -> list[Ring]:
    """Jobs to ring now: the projects in turn, at most `share` jobs of one in Redis."""
    return [jobs.ring_of(job) for job in queries.due(session, now, share=share, limit=limit)]


def rung_before(session: Session, moment: datetime, *, limit: int) -> list[Ring]:
    """Queued jobs that were rung before a time: they wait in Redis, or Redis has lost them."""
    return [jobs.ring_of(job) for job in queries.lost(session, rung_before=moment, limit=limit)]


def mark_rung(session: Session, rings: Iterable[Ring], *, now: datetime) -> None:
    """Note that these jobs are in Redis."""
    queries.mark_rung(session, [ring.job_id for ring in rings], now)


def any_lost(session: Session, *, now: datetime) -> bool:
    """Whether a worker has been silent past the lease of its job."""
    return queries.expired(session, now) is not None


def forget_ended(session: Session) -> None:
    """Drop the outbox rows of jobs that ended before they were rung."""
    queries.drop_finished_outbox(session)
