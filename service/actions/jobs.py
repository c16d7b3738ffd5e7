"""The life of a job: queued, running, succeeded, failed or cancelled. Terminal states never change."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy.orm import Session

from service.actions import events
from service.actions.outdated import outdate
from service.db.queries import jobs as queries
from service.db.tables import Job, Outbox
from service.db.types import new_id
from service.errors import ConflictError, NotFoundError, TooManyRequestsError, UnavailableError
from service.queue.messages import MESSAGE_OF_KIND, QUEUE_OF_KIND, Message, PredictMessage, Ring
from service.settings import Settings
from service.tracing.context import span

# A ring right after the commit gets this long to be claimed before the dispatcher rings again.
_DIRECT_RING = timedelta(seconds=2)
_FIRST_WAIT = timedelta(seconds=0.5)
_LONGEST_WAIT = timedelta(seconds=30)
# Some four hours of waits; a fault that stays is no passing one, and every job ends.
_MOST_PASSING_FAULTS = 500
_FULL_RETRY_SECONDS = "10"


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this worker holds. Writes go through while `token` is the job's."""

    job_id: str
    project_id: str
    kind: str
    message: Message
    attempt: int
    token: str
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Setback:
    """Why an attempt ended without a result.

    Attributes:
        cause: What happened, as a clause.
        passing: It was no fault of the job, so the attempt does not count.
    """

    cause: str
    passing: bool = False


SILENCE = Setback("the worker fell silent")


@dataclass(frozen=True, slots=True)
class Room:
    """How many unfinished jobs there may be when a client asks for one more."""

    of_project: int
    in_all: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the operator wants it."""
        return cls(settings.max_jobs_per_project, settings.max_jobs)

    def check(self, session: Session, project_id: str) -> None:
        """Refuse when it is used up.

        Raises:
            TooManyRequestsError: the project has as many jobs as it may.
            UnavailableError: the service has.
        """
        if queries.is_full(session, self.of_project, project_id=project_id):
            detail = f"The project has {self.of_project} unfinished jobs, which is the limit. Wait until some end."
            raise TooManyRequestsError(detail, headers={"Retry-After": _FULL_RETRY_SECONDS})
        if queries.is_full(session, self.in_all):
            detail = "The queue is full. Wait until some jobs have ended."
            raise UnavailableError(detail, headers={"Retry-After": _FULL_RETRY_SECONDS})


def enqueue(
    session: Session,
    *,
    project_id: str,
    kind: str,
    message: Message,
    now: datetime,
    share: int,
    delay: timedelta = timedelta(0),
    room: Room | None = None,
) -> Job:
    """Write the job and its outbox row; ring it after the commit if it is due and the project has room in Redis.

    `room` bounds what clients ask for; what follows from accepted changes is never refused.
    """
    if room is not None:
        room.check(session, project_id)
    direct = not delay and queries.rung_and_queued(session, project_id) < share
    with span(f"queue {kind}", "producer") as queuing:
        job = Job(
            id=new_id("job"),
            project_id=project_id,
            kind=kind,
            queue=QUEUE_OF_KIND[kind],
            state="queued",
            payload=message.model_dump(mode="json"),
            created_at=now,
            rung_at=now if direct else None,
            traceparent=queuing.traceparent,
        )
        queuing.tell(job_id=job.id, project_id=project_id)
        session.add(job)
        session.flush()
        _post(session, job, now=now + delay, direct=direct)
    return job


def _post(session: Session, job: Job, *, now: datetime, direct: bool) -> None:
    session.merge(Outbox(job_id=job.id, project_id=job.project_id, ring_after=now + _DIRECT_RING if direct else now))
    session.flush()
    if direct:
        session.info.setdefault("rings", []).append(ring_of(job))


def ring_again(session: Session, job: Job, *, now: datetime, delay: timedelta = timedelta(0)) -> None:
    """Ring a waiting job whose last ring could not be answered, as another of its kind was running.

    With a delay it is not begun before.
    """
    direct = not delay
    job.rung_at = now if direct else None
    _post(session, job, now=now + delay, direct=direct)


def ring_of(job: Job) -> Ring:
    """How the queue is told of a job."""
    return Ring(job_id=job.id, queue=job.queue, attempt=job.attempt)


def get(session: Session, job_id: str, *, project_id: str | None = None) -> Job:
    """The job, if a key of `project_id` (none: of any project) may see it."""
    job = queries.get(session, job_id)
    if job is None or (project_id and job.project_id != project_id):
        raise NotFoundError("There is no such job; those that ended are kept for a time only (GLEANER_KEEP_JOBS_DAYS).")
    return job


def page(
    session: Session, project_id: str, *, kind: str | None, state: str | None, before: str | None, size: int
) -> Sequence[Job]:
    """A project's jobs, newest first."""
    return queries.page(session, project_id, kind=kind, state=state, before=before, size=size)


def claim(session: Session, job_id: str, *, lease: timedelta, now: datetime, holder: str = "") -> Claim | None:
    """Take the job, or nothing when somebody else has it or it has ended. The token begins with `holder`."""
    token = holder + secrets.token_hex(16)
    job = queries.claim(session, job_id, token=token, lease_until=now + lease, now=now)
    if job is None:
        return None
    return Claim(job.id, job.project_id, job.kind, _message_of(job), job.attempt, token, job.traceparent)


def beat(session: Session, held: Claim, *, until: datetime, done: int, total: int, phase: str) -> bool:
    """Prolong the lease and tell the progress; false when the job is no longer ours (lost or cancelled)."""
    return queries.change_running(
        session,
        held.job_id,
        held.token,
        lease_until=until,
        progress_done=done,
        progress_total=total,
        progress_phase=phase,
    )


def pin(session: Session, held: Claim, *, chunks: int, labels: int) -> bool:
    """Note which generation of chunk lists the job reads, whose files are kept, and which labels; false if not ours."""
    return queries.change_running(session, held.job_id, held.token, pinned_generation=chunks, label_generation=labels)


def finish(
    session: Session,
    held: Claim,
    *,
    now: datetime,
    steps: int = 1,
    result: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
) -> bool:
    """End the job, with all of its steps done if it went well.

    False when it is no longer ours, and then nothing else of the transaction may be kept.
    """
    state = "failed" if error else "succeeded"
    progress = {} if error else {"progress_done": steps, "progress_total": steps}
    _outdate_inputs(session, held.message)
    return queries.change_running(
        session,
        held.job_id,
        held.token,
        state=state,
        result=result,
        error=error,
        finished_at=now,
        token=None,
        lease_until=None,
        pinned_generation=None,
        progress_phase=state,
        **progress,
    )


def give_back(session: Session, job: Job, *, now: datetime, max_attempts: int, setback: Setback = SILENCE) -> bool:
    """Queue a running job again, after a wait that grows, or fail it after its last attempt; whether that ended it.

    Nothing happens when who held it when it was read no longer does.
    """
    passing_faults = job.passing_faults + setback.passing
    error = _last_straw(job.attempt, passing_faults, setback, max_attempts)
    if error is not None:
        return fail(session, job, now=now, error=error)
    given_back = queries.change_running(
        session,
        job.id,
        job.token or "",
        state="queued",
        passing_faults=passing_faults,
        token=None,
        lease_until=None,
        pinned_generation=None,
        rung_at=None,
        progress_phase="queued",
    )
    if given_back:
        session.merge(Outbox(job_id=job.id, project_id=job.project_id, ring_after=now + wait_after(job.attempt)))
        session.flush()
    return False


def wait_after(attempt: int) -> timedelta:
    """The wait between an attempt, counted from 1, and the next: doubled each time, up to half a minute."""
    return min(_FIRST_WAIT * float(2 ** min(attempt - 1, 10)), _LONGEST_WAIT)


def _last_straw(attempt: int, passing_faults: int, setback: Setback, max_attempts: int) -> dict[str, Any] | None:
    """The error of a job that is not tried again; none for one that is."""
    if passing_faults > _MOST_PASSING_FAULTS:
        return {"name": "unavailable", "detail": f"Given up after {attempt} attempts: in the last, {setback.cause}."}
    if attempt - passing_faults >= max_attempts:
        return {"name": "worker-lost", "detail": f"Given up after {attempt} attempts: in the last, {setback.cause}."}
    return None


def fail(session: Session, job: Job, *, now: datetime, error: dict[str, Any]) -> bool:
    """Fail a running job, and tell those who listen; false when who held it when it was read no longer does."""
    ended = queries.change_running(
        session,
        job.id,
        job.token or "",
        state="failed",
        error=error,
        finished_at=now,
        token=None,
        lease_until=None,
        pinned_generation=None,
        progress_phase="failed",
    )
    if ended:
        _outdate_inputs(session, _message_of(job))
        events.job_failed(session, job, error=error, now=now)
    return ended


def cancel(session: Session, job: Job, *, now: datetime) -> bool:
    """Cancel a job, unless it was before; a worker that runs it can store nothing from here on, and stops.

    Raises:
        ConflictError: it has ended otherwise, or is a deletion.
        NotFoundError: it is gone with its project.
    """
    if job.kind == "deletion":
        raise ConflictError("A deletion cannot be cancelled.")
    ended = queries.change_unfinished(
        session,
        job.id,
        state="cancelled",
        finished_at=now,
        token=None,
        lease_until=None,
        pinned_generation=None,
        progress_phase="cancelled",
    )
    state = get(session, job.id).state
    if state != "cancelled":
        raise ConflictError(f"The job has already {state}.")
    if ended:
        _outdate_inputs(session, _message_of(job))
    return ended


def _outdate_inputs(session: Session, message: Message) -> None:
    """What a client sent for one job goes when it ends, however it does."""
    if isinstance(message, PredictMessage):
        outdate(session, message.inputs_key)


def _message_of(job: Job) -> Message:
    return MESSAGE_OF_KIND[job.kind].model_validate(job.payload)


def cancel_waiting(session: Session, project_id: str, *, kinds: Collection[str], now: datetime) -> None:
    """Cancel what of some kinds has not begun in a project."""
    for job_id in queries.waiting_ids(session, project_id, kinds=kinds):
        queries.change_unfinished(
            session, job_id, states=("queued",), state="cancelled", finished_at=now, progress_phase="cancelled"
        )


def cancel_all(session: Session, project_id: str, *, but: str, now: datetime) -> None:
    """Cancel what is unfinished in a project that is being deleted."""
    for job_id in queries.unfinished_ids(session, project_id, but=but):
        queries.change_unfinished(
            session,
            job_id,
            state="cancelled",
            finished_at=now,
            token=None,
            lease_until=None,
            progress_phase="cancelled",
        )
