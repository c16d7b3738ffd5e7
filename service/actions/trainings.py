"""When a training starts: asked for, or by the project's retraining policy.

`label_generation` counts the changes of labels, `trained_generation` those that a finished training has covered. At
most one training runs and one waits: asking while one waits gives the waiting one, which loads the labels of its start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy.orm import Session

from service.actions import jobs
from service.db.queries import jobs as job_queries
from service.db.queries import projects as project_queries
from service.db.tables import Job, Pool, Project
from service.queue.messages import TrainingMessage

Reason = Literal["requested", "first", "every", "quiet", "idle"]


@dataclass(frozen=True, slots=True)
class TrainingNote:
    """What labels led to: a training, or how many more lead to one."""

    job_id: str | None
    labels_until_next: int | None


def request(session: Session, project_id: str, *, reason: Reason, now: datetime, share: int) -> Job:
    """The training that waits, or a new one."""
    project_queries.lock_pool(session, project_id)
    return _request(session, project_id, reason=reason, now=now, share=share)


def _request(session: Session, project_id: str, *, reason: Reason, now: datetime, share: int) -> Job:
    waiting = job_queries.find(session, project_id, kind="training", state="queued")
    if waiting is not None:
        return waiting
    return jobs.enqueue(
        session, project_id=project_id, kind="training", message=TrainingMessage(reason=reason), now=now, share=share
    )


def after_labels(session: Session, project: Project, pool: Pool, *, now: datetime, share: int) -> TrainingNote:
    """Apply the policy after labels changed; the pool is locked and its counters are up to date."""
    policy = project.retraining
    if not policy["automatic"]:
        return TrainingNote(None, None)
    unfinished = job_queries.trainings(session, project.id)
    waiting = next((job.id for job in unfinished if job.state == "queued"), None)
    missing = _labels_until_next(pool, policy, unfinished)
    if missing > 0:
        pool.train_at = now + timedelta(seconds=policy["idle_seconds"])
        return TrainingNote(waiting, missing)
    if policy["quiet_seconds"] > 0:
        pool.train_at = now + timedelta(seconds=policy["quiet_seconds"])
        return TrainingNote(waiting, 0)
    pool.train_at = None
    reason: Reason = "every" if pool.model_version else "first"
    session.flush()
    job = _request(session, project.id, reason=reason, now=now, share=share)
    return TrainingNote(job.id, policy["every"])


def _labels_until_next(pool: Pool, policy: dict[str, Any], unfinished: Sequence[Job]) -> int:
    """Labels that are missing before the next training; none when it is due."""
    threshold = policy["every"] if pool.trained_generation else policy["first_at"]
    running = [job.label_generation or 0 for job in unfinished if job.state == "running"]
    missing: int = threshold - (pool.label_generation - max([pool.trained_generation, *running]))
    return missing


def after_end(session: Session, job: Job, *, now: datetime, share: int) -> None:
    """A training ended, well or not: note what it covered, and see that labels which came meanwhile are trained too."""
    if job.kind != "training":
        return
    pool = project_queries.lock_pool(session, job.project_id)
    pool.trained_generation = max(pool.trained_generation, job.label_generation or 0)
    session.flush()
    waiting = job_queries.find(session, job.project_id, kind="training", state="queued")
    if waiting is not None:
        jobs.ring_again(session, waiting, now=now)
    project = project_queries.get(session, job.project_id)
    if project is not None and project.state == "active" and pool.label_generation > pool.trained_generation:
        after_labels(session, project, pool, now=now, share=share)


def cancel(session: Session, job: Job, *, now: datetime) -> Job:
    """Cancel any job; a training that waits behind a cancelled one is rung."""
    jobs.cancel(session, job, now=now)
    if job.kind == "training":
        waiting = job_queries.find(session, job.project_id, kind="training", state="queued")
        if waiting is not None:
            jobs.ring_again(session, waiting, now=now)
    return job


def give_back(session: Session, job: Job, *, now: datetime, max_attempts: int, share: int) -> None:
    """Queue any job of a lost worker again; when that was its last attempt, go on behind a failed training."""
    if not jobs.give_back(session, job, now=now, max_attempts=max_attempts):
        after_end(session, job, now=now, share=share)


def request_due(session: Session, *, now: datetime, share: int, limit: int = 100) -> int:
    """Ask for the trainings whose quiet or idle period is over; the number of projects looked at."""
    due = project_queries.due_for_training(session, now, limit)
    for project_id in due:
        pool = project_queries.lock_pool(session, project_id)
        pool.train_at = None
        session.flush()
        if pool.label_generation > pool.trained_generation:
            _request(session, project_id, reason="idle", now=now, share=share)
    return len(due)
