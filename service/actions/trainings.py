"""When a training starts: asked for, or by the project's retraining policy.

`label_generation` counts the changes of labels, `trained_generation` those that a succeeded training has covered, and
`attempted_generation` those that any ended training has. At most one training runs and one waits: asking while one
waits gives the waiting one, which loads the labels of its start.

Where labels come faster than trainings end, the next one that nobody asked for begins after a rest nine times as long
as the last one took: nine tenths of the time the processor is there for those who wait for an answer.

While a model of the client's own is pinned, trainings begin only when they are asked for. None begins in a paused
project; what was held back is made up for when it goes on.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from service.actions import jobs
from service.db.queries import jobs as job_queries
from service.db.queries import projects as project_queries
from service.db.tables import Job, Pool, Project
from service.errors import ProjectPausedError
from service.queue.messages import TrainingMessage

Reason = Literal["requested", "first", "every", "quiet", "idle"]
Trainings = Callable[[Session, str], Sequence[Job]]
_REST = 9  # times as long as the training before
_LONGEST_REST = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class TrainingNote:
    """What labels led to: a training, or how many more lead to one."""

    job_id: str | None
    labels_until_next: int | None


def request(session: Session, project_id: str, *, now: datetime, share: int, room: jobs.Room) -> Job:
    """Somebody asks: the training that waits, or a new one if there is room.

    Raises:
        ProjectPausedError: no training begins.
    """
    project_queries.lock_pool(session, project_id)
    project = project_queries.get(session, project_id, anew=True)
    if project is not None and project.paused:
        raise ProjectPausedError
    return _request(session, project_id, reason="requested", now=now, share=share, room=room)


def _request(
    session: Session, project_id: str, *, reason: Reason, now: datetime, share: int, room: jobs.Room | None = None
) -> Job:
    message = TrainingMessage(reason=reason)
    waiting = _first_waiting(job_queries.lock_trainings(session, project_id))
    if waiting is not None:
        if reason == "requested":
            waiting.payload = message.model_dump(mode="json")
            jobs.ring_again(session, waiting, now=now)
        return waiting
    return jobs.enqueue(
        session, project_id=project_id, kind="training", message=message, now=now, share=share, room=room
    )


def after_labels(session: Session, project: Project, pool: Pool, *, now: datetime, share: int) -> TrainingNote:
    """Apply the policy after labels changed; the pool is locked and its counters are up to date."""
    policy = project.retraining
    found = note(session, project, pool, read=job_queries.lock_trainings)
    if found.labels_until_next is None:
        pool.train_at = None
        return found
    if found.labels_until_next > 0:
        pool.train_at = now + timedelta(seconds=policy["idle_seconds"])
        return found
    if policy["quiet_seconds"] > 0:
        pool.train_at = now + timedelta(seconds=policy["quiet_seconds"])
        return found
    pool.train_at = None
    waiting = found.job_id
    if waiting is None:
        session.flush()
        message = TrainingMessage(reason="every" if pool.model_version else "first")
        waiting = jobs.enqueue(
            session, project_id=project.id, kind="training", message=message, now=now, share=share
        ).id
    return TrainingNote(waiting, policy["every"])


def note(session: Session, project: Project, pool: Pool, *, read: Trainings = job_queries.trainings) -> TrainingNote:
    """The training that waits, and how many labels are missing before the next one is due."""
    policy = project.retraining
    silent = not policy["automatic"] or project.paused
    if silent or pool.pin == "external" or project.features["type"] == "none":
        return TrainingNote(None, None)
    unfinished = read(session, project.id)
    waiting = _first_waiting(unfinished)
    running = [job.label_generation or 0 for job in unfinished if job.state == "running"]
    threshold = policy["every"] if pool.model_version else policy["first_at"]
    missing = threshold - (pool.label_generation - max([pool.attempted_generation, *running]))
    return TrainingNote(waiting.id if waiting else None, max(missing, 0))


def _first_waiting(trainings: Sequence[Job]) -> Job | None:
    return next((job for job in trainings if job.state == "queued"), None)


def after_end(session: Session, job: Job, *, now: datetime, share: int, succeeded: bool) -> None:
    """A training ended: see that labels which it did not cover are trained too.

    After a failure the same labels are tried again when the idle period is over, not with each new label.
    """
    if job.kind != "training":
        return
    pool = project_queries.lock_pool(session, job.project_id)
    # One that failed before it loaded anything counts as having tried all: else it would start again at once, for ever.
    covered = job.label_generation or pool.label_generation
    pool.attempted_generation = max(pool.attempted_generation, covered)
    if succeeded:
        pool.trained_generation = max(pool.trained_generation, covered)
    session.flush()
    _ring_waiting(session, job, now=now)
    project = project_queries.get(session, job.project_id)
    if project is not None and project.state == "active" and pool.label_generation > pool.trained_generation:
        after_labels(session, project, pool, now=now, share=share)


def _lock_first(session: Session, job: Job) -> None:
    """Lock the pool of a training before its row, as everybody does; with its project a job is gone too."""
    if job.kind == "training":
        with suppress(NoResultFound):
            project_queries.lock_pool(session, job.project_id)


def fail(session: Session, job: Job, *, now: datetime, share: int, error: dict[str, Any]) -> None:
    """Fail any job, unless who held it when it was read no longer does, and go on behind a training."""
    _lock_first(session, job)
    if jobs.fail(session, job, now=now, error=error):
        after_end(session, job, now=now, share=share, succeeded=False)


def cancel(session: Session, job: Job, *, now: datetime, share: int) -> Job:
    """Cancel any job. What a cancelled training would have covered is trained when the idle period is over."""
    _lock_first(session, job)
    if jobs.cancel(session, job, now=now):
        after_end(session, job, now=now, share=share, succeeded=False)
    return job


def policy_changed(session: Session, project: Project, *, now: datetime, share: int) -> None:
    """Apply a new policy to labels that are there already."""
    pool = project_queries.lock_pool(session, project.id)
    if pool.label_generation > pool.trained_generation:
        after_labels(session, project, pool, now=now, share=share)


def paused(session: Session, project: Project, pool: Pool, *, now: datetime, share: int) -> None:
    """Hold trainings back, or make up for those that were, as the project says now; the pool is locked."""
    if not project.paused:
        policy_changed(session, project, now=now, share=share)
        return
    pool.train_at = None
    jobs.cancel_waiting(session, project.id, kinds=("training",), now=now)


def truth_changed(session: Session, project: Project, *, now: datetime, share: int) -> None:
    """Count another way to the truth as a change of the labels, as it is one for the models; nothing without labels."""
    pool = project_queries.lock_pool(session, project.id)
    if pool.examples_labeled:
        pool.label_generation += 1
        session.flush()
        after_labels(session, project, pool, now=now, share=share)


def classes_changed(session: Session, project: Project, pool: Pool, *, now: datetime, share: int) -> None:
    """Count other classes as a change of the labels; where they left no model, train at once. The pool is locked."""
    pool.label_generation += 1
    session.flush()
    trained = pool.trained_generation > 0 and pool.model_version == 0
    if trained and note(session, project, pool).labels_until_next is not None:
        _request(session, project.id, reason="every", now=now, share=share)
    else:
        after_labels(session, project, pool, now=now, share=share)


def features_changed(session: Session, project: Project, pool: Pool, *, now: datetime, share: int) -> None:
    """Count other features as a change of the labels; where a model learnt from the old ones, train at once.

    The pool is locked. Nothing without labels.
    """
    if not pool.examples_labeled:
        return
    pool.label_generation += 1
    session.flush()
    if pool.trained_generation and note(session, project, pool).labels_until_next is not None:
        _request(session, project.id, reason="every", now=now, share=share)
    else:
        after_labels(session, project, pool, now=now, share=share)


def _ring_waiting(session: Session, ended: Job, *, now: datetime) -> None:
    """Ring a training whose ring could not be answered, while another ran: after a rest, unless it was asked for."""
    waiting = _first_waiting(job_queries.lock_trainings(session, ended.project_id))
    if waiting is None:
        return
    took = now - ended.started_at if ended.started_at else timedelta(0)
    asked = waiting.payload["reason"] == "requested"
    jobs.ring_again(session, waiting, now=now, delay=timedelta(0) if asked else min(_REST * took, _LONGEST_REST))


def give_back(
    session: Session,
    job: Job,
    *,
    now: datetime,
    max_attempts: int,
    share: int,
    setback: jobs.Setback = jobs.SILENCE,
) -> None:
    """Queue any job of a lost worker again; when that was its last attempt, go on behind a failed training."""
    _lock_first(session, job)
    if jobs.give_back(session, job, now=now, max_attempts=max_attempts, setback=setback):
        after_end(session, job, now=now, share=share, succeeded=False)


def give_back_lost(session: Session, *, now: datetime, max_attempts: int, share: int) -> bool:
    """Give back a job whose worker has been silent past its lease; false when there is none.

    To be called in a transaction of its own, again and again.
    """
    silent = job_queries.expired(session, now)
    if silent is None:
        return False
    _lock_first(session, silent)
    lost = job_queries.lock_expired(session, silent.id, now)
    if lost is not None:  # it may have spoken meanwhile
        give_back(session, lost, now=now, max_attempts=max_attempts, share=share)
    return True


def request_due(session: Session, *, now: datetime, share: int) -> bool:
    """Ask for the training of a project whose quiet or idle period is over; false when there is none.

    To be called in a transaction of its own, again and again.
    """
    project_id = project_queries.due_for_training(session, now)
    if project_id is None:
        return False
    pool = project_queries.lock_pool(session, project_id)
    if pool.train_at is None or pool.train_at > now:
        return True  # others were faster, or labels came
    pool.train_at = None
    session.flush()
    project = project_queries.get(session, project_id)
    if project is None or project.state != "active" or project.paused:
        return True
    if project.retraining["automatic"] and pool.label_generation > pool.trained_generation:
        _request(session, project_id, reason="idle", now=now, share=share)
    return True
