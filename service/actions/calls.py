"""Calls of programs: a batch is made for a program, sent to it, and answered at once or later through the labels.

A program has one call at a time. The dispatcher looks at each one when it is due: `advance` makes its next step. What
programs answer is read by `service.actions.program_answers`.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Literal

import orjson
from sqlalchemy.orm import Session

from service.actions import events, jobs, projects, queries
from service.actions.queries import Wish
from service.catalog.events import REQUEST
from service.catalog.strategies import reviews
from service.db.queries import annotators as annotator_queries
from service.db.queries import batches as batch_queries
from service.db.queries import deliveries as delivery_queries
from service.db.queries import jobs as job_queries
from service.db.queries import rankings
from service.db.queries import webhooks as webhook_queries
from service.db.tables import Annotator, AnnotatorCall, Batch, Job, Pool, Project
from service.db.types import new_id
from service.errors import ConflictError, GleanerError, NotFoundError, TooManyRequestsError, UnavailableError
from service.settings import MIB, Settings

Failure = Literal["timeout", "refused", "status", "garbage", "foreign_examples", "expired", "query"]
StopReason = Literal["by_hand", "budget_labels", "budget_cost", "failures"]

MOST_FAILURES = 5
"""So many failed calls in a row stop a program."""

_MOST_DATA_BYTES = MIB
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=5)
_SOON = timedelta(seconds=0.5)
_REST = timedelta(seconds=10)


def any_due(session: Session, *, now: datetime) -> bool:
    """Whether a program is to be looked at; cheap, to be asked often."""
    return annotator_queries.any_due(session, now)


def advance(session: Session, *, settings: Settings, now: datetime) -> bool:
    """Make the next step of a program that is due; false when there is none.

    To be called in a transaction of its own, again and again.
    """
    found = annotator_queries.next_due(session, now)
    if found is None:
        return False
    annotator_id, project_id = found
    try:
        project, pool = projects.lock(session, project_id)
    except NotFoundError:
        annotator_queries.put_off(session, annotator_id)  # its project is being deleted
        return True
    annotator = annotator_queries.get(session, annotator_id)
    if annotator is not None and annotator.due_at is not None and annotator.due_at <= now:
        _Step(session, project, pool, annotator, settings=settings, now=now).make()
        session.flush()
    return True


def stop(session: Session, project: Project, annotator: Annotator, *, reason: StopReason, now: datetime) -> None:
    """Ask a program for nothing more, take its open batch back, and tell those who listen; the pool is locked."""
    annotator.state, annotator.stopped_reason, annotator.due_at = "stopped", reason, None
    annotator.updated_at = now
    session.flush()
    told = {"id": annotator.id, "name": annotator.name, "reason": reason}
    call = annotator_queries.open_call(session, annotator.id)
    if call is not None:
        _cancel_query(session, call, now=now)
    webhook_queries.lock_all(session, project.id)  # before the delivery of the call, as others do; its own may change
    data = {"project_id": project.id, "job_id": None, "model": None, "annotator": told}
    events.emit(session, "annotator.stopped", project_id=project.id, data=data, now=now)
    if call is not None:
        end(session, call, state="withdrawn", now=now)


def _cancel_query(session: Session, call: AnnotatorCall, *, now: datetime) -> None:
    """Cancel the query of a call whose batch is not made yet."""
    job = job_queries.get(session, call.job_id or "")
    if job is not None and job.state in job_queries.UNFINISHED:
        with suppress(ConflictError):  # it has ended just now
            jobs.cancel(session, job, now=now)


def end(session: Session, call: AnnotatorCall, *, state: str, now: datetime) -> None:
    """End a call: its leases are free, and it is sent no more."""
    call.state, call.finished_at = state, now
    session.flush()
    if call.job_id is not None:
        batch_queries.release(session, call.job_id, None)
    if call.delivery_id is not None:
        delivery_queries.end(session, call.delivery_id, now=now)


def fail(
    session: Session, annotator: Annotator, call: AnnotatorCall, *, failure: Failure, detail: str, now: datetime
) -> None:
    """End a call that came to nothing; the next one follows after a pause that grows."""
    call.failure, call.detail = failure, detail
    end(session, call, state="failed", now=now)
    annotator.failures += 1
    annotator.due_at = now + min(_FIRST_PAUSE * float(2 ** min(annotator.failures - 1, 10)), _LONGEST_PAUSE)


def succeed(session: Session, annotator: Annotator, call: AnnotatorCall, *, labels: int, now: datetime) -> None:
    """End a call that was answered; what was left out goes to others, and this program gets it no more."""
    call.labels = labels
    end(session, call, state="answered", now=now)
    annotator.failures = 0
    annotator.due_at = now


def is_automatic(project: Project) -> bool:
    """Whether programs are asked without anybody's doing, which they are not while the project is paused."""
    automatic: bool = project.annotation.get("automatic", False)  # projects of earlier releases do not say so
    return automatic and not project.paused


class _Step:
    """A program that is due, behind the lock of its pool."""

    def __init__(
        self,
        session: Session,
        project: Project,
        pool: Pool,
        annotator: Annotator,
        *,
        settings: Settings,
        now: datetime,
    ) -> None:
        self._session = session
        self._project = project
        self._pool = pool
        self._annotator = annotator
        self._settings = settings
        self._now = now

    def make(self) -> None:
        annotator = self._annotator
        call = annotator_queries.open_call(self._session, annotator.id)
        if call is not None:
            self._follow(call)
        elif annotator.state != "active" or not is_automatic(self._project):
            annotator.due_at = None
        elif (reason := self._reason_to_stop()) is not None:
            stop(self._session, self._project, annotator, reason=reason, now=self._now)
        elif self._rests():
            annotator.due_at = self._now + _REST
        else:
            self._ask()

    def _reason_to_stop(self) -> StopReason | None:
        annotator = self._annotator
        if annotator.labels_used >= annotator.max_labels:
            return "budget_labels"
        if annotator.max_cost is not None and annotator.cost_used >= annotator.max_cost:
            return "budget_cost"
        return "failures" if annotator.failures >= MOST_FAILURES else None

    def _rests(self) -> bool:
        """Whether nothing can have become free for it since nothing was left."""
        annotator, since = self._annotator, self._annotator.rests_since
        if since is None:
            return False
        freed = annotator.rests_until is not None and annotator.rests_until <= self._now
        forgotten = self._pool.snapshot_sequence > since
        return not (freed or forgotten or rankings.has_entered(self._session, self._project.id, after=since))

    def _ask(self) -> None:
        """Queue the query for its next batch."""
        annotator = self._annotator
        call = AnnotatorCall(
            id=new_id("cal"),
            annotator_id=annotator.id,
            state="ranking",
            size=0,
            labels=0,
            cost=0.0,
            change_sequence=self._pool.change_sequence,
            created_at=self._now,
        )
        try:
            job = self._query()
        except (TooManyRequestsError, UnavailableError):
            annotator.due_at = self._now + _REST  # the queue is full
            return
        except GleanerError as error:
            self._session.add(call)
            fail(self._session, annotator, call, failure="query", detail=error.detail, now=self._now)
            return
        call.job_id = job.id
        self._session.add(call)
        annotator.due_at = self._now + _SOON

    def _query(self) -> Job:
        annotator, settings = self._annotator, self._settings
        left = annotator.max_labels - annotator.labels_used
        wish = Wish(
            k=min(annotator.batch_size, left, settings.max_batch),
            # to review labels is for people
            strategy="auto" if reviews(self._project.query["strategy"]) else None,
            params=None,
            annotator=annotator.name,
            lease_seconds=annotator.lease_seconds,
            seed=None,
            filter=None,
            candidates=None,
            explore=0.0,
            class_balanced=False,
            include_data=True,
        )
        return queries.ask(
            self._session,
            self._project,
            wish,
            most=settings.max_batch,
            now=self._now,
            share=settings.jobs_in_queue_per_project,
            room=jobs.Room.of(settings),
            program=True,
        )

    def _follow(self, call: AnnotatorCall) -> None:
        if call.state == "ranking":
            self._follow_query(call)
        elif call.expires_at is not None and call.expires_at <= self._now:
            self._expire(call)
        elif call.state == "accepted":
            self._look_for_labels(call)
        else:
            self._annotator.due_at = call.expires_at  # until then its deliveries tell what becomes of it

    def _follow_query(self, call: AnnotatorCall) -> None:
        if not is_automatic(self._project):
            _cancel_query(self._session, call, now=self._now)
            end(self._session, call, state="withdrawn", now=self._now)
            self._annotator.due_at = None
            return
        job = job_queries.get(self._session, call.job_id or "")
        batch = batch_queries.get(self._session, call.job_id or "")
        if batch is not None and batch.size:
            self._send(call, batch)
        elif batch is not None:
            self._rest(call)
        elif job is None or job.state not in job_queries.UNFINISHED:
            detail = f"The batch could not be made: see /v1/jobs/{call.job_id}."
            fail(self._session, self._annotator, call, failure="query", detail=detail, now=self._now)
        else:
            self._annotator.due_at = self._now + max(_SOON, min((self._now - call.created_at) / 4, _REST))

    def _rest(self, call: AnnotatorCall) -> None:
        """Nothing is left for it: look again when something was added, or others give back what they hold."""
        annotator = self._annotator
        annotator.rests_since = call.change_sequence
        annotator.rests_until = rankings.last_expiry(self._session, self._project.id, self._now)
        annotator.due_at = self._now + _REST
        self._session.delete(call)

    def _send(self, call: AnnotatorCall, batch: Batch) -> None:
        annotator = self._annotator
        document = orjson.loads(batch.body)
        delivery = events.deliver(
            self._session,
            webhook_id=annotator.webhook_id,
            event=REQUEST,
            data={
                "project_id": self._project.id,
                "job_id": batch.job_id,
                "annotator": annotator.name,
                "task": self._project.task,
                "labels_url": f"/v1/projects/{self._project.id}/labels",
                "batch": document if len(batch.body) <= _MOST_DATA_BYTES else _without_data(document),
            },
            now=self._now,
        )
        if delivery is None:
            raise RuntimeError("The endpoint of a program is always enabled.")
        call.state, call.delivery_id, call.size = "sent", delivery.id, batch.size
        call.expires_at = datetime.fromisoformat(document["lease"]["expires_at"])
        annotator.rests_since, annotator.rests_until = None, None
        annotator.due_at = call.expires_at

    def _look_for_labels(self, call: AnnotatorCall) -> None:
        """End a call whose labels have come through the labels endpoint."""
        labels, skips = self._answers(call)
        call.labels = labels
        if labels + skips >= call.size:
            succeed(self._session, self._annotator, call, labels=labels, now=self._now)
        else:
            since = self._now - call.created_at
            self._annotator.due_at = min(
                self._now + max(2 * _SOON, min(since / 10, _REST)), call.expires_at or self._now
            )

    def _expire(self, call: AnnotatorCall) -> None:
        """Its leases are over: what came counts; if nothing did, it failed."""
        labels, skips = self._answers(call)
        if labels + skips:
            succeed(self._session, self._annotator, call, labels=labels, now=self._now)
            return
        detail = f"No answer came within the {self._annotator.lease_seconds} seconds of the lease."
        fail(self._session, self._annotator, call, failure="expired", detail=detail, now=self._now)

    def _answers(self, call: AnnotatorCall) -> tuple[int, int]:
        return annotator_queries.answers(self._session, self._project.id, call.job_id or "", self._annotator.name)


def _without_data(document: dict[str, Any]) -> dict[str, Any]:
    """A batch that is too large to be sent: its data can be fetched by its `job_id`."""
    return {**document, "items": [{**item, "data": None} for item in document["items"]]}
