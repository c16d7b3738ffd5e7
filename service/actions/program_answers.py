"""What programs answer to a batch: read strictly, recorded once, and in no case more than was asked for."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy.orm import Session

from service.actions import calls, deliveries, labels, projects
from service.actions.calls import Failure
from service.actions.deliveries import Outcome, Parcel
from service.actions.label_rows import Answer
from service.actions.label_values import Labels
from service.actions.recording import Part, Recorded
from service.codecs.row_errors import explain_type
from service.codecs.rows import Label
from service.db.queries import annotators as queries
from service.db.queries import batches as batch_queries
from service.db.queries import deliveries as delivery_queries
from service.db.tables import Annotator, AnnotatorCall, Pool, Project
from service.errors import NotFoundError
from service.settings import MIB

MOST_BYTES = MIB
"""Of an answer."""

RETRIES = tuple(timedelta(seconds=seconds) for seconds in (5, 30, 120))
"""Waits between the attempts to send a batch: its examples are reserved meanwhile."""

MOST_COST = 1e12


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    """The answer to one example: a label or a skip."""

    example_id: str
    label: Label | UnsetType = UNSET
    skip: bool = False


class _Labels(msgspec.Struct, forbid_unknown_fields=True):
    """The answer to a batch. Examples that are left out go to others."""

    labels: list[_Row]
    cost: float = 0.0


class _Later(msgspec.Struct):
    """What a program says that answers later."""

    cost: float = 0.0


class _FailedError(Exception):
    """An answer that gives no labels."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure: Failure = failure
        self.detail = detail


@dataclass(frozen=True, slots=True)
class _Read:
    """A good answer; `later`: the labels will come through the labels endpoint."""

    answers: list[Answer] = field(default_factory=list)
    cost: float = 0.0
    later: bool = False


def record(session: Session, parcel: Parcel, outcome: Outcome, *, now: datetime, share: int) -> None:
    """Log an attempt to send a batch, and take the labels that came back, or decide what follows.

    An attempt is fenced by its number, and a call that was withdrawn or ran out has ended its delivery: what comes
    twice, or too late, is logged and changes nothing.
    """
    found = queries.call_of_delivery(session, parcel.delivery_id)
    if found is None:
        return  # the program was removed meanwhile
    call_id, annotator_id, project_id = found
    try:
        project, pool = projects.lock(session, project_id)
    except NotFoundError:
        return
    call, annotator = queries.call(session, call_id), queries.get(session, annotator_id)
    delivery = delivery_queries.get(session, parcel.delivery_id)
    if call is None or annotator is None or delivery is None:
        return
    deliveries.log(session, parcel, outcome)
    try:
        read = _read(session, project, annotator, call, outcome)
    except _FailedError as error:
        _settle_failure(session, annotator, call, parcel, outcome, error=error, now=now)
        return
    ended = {"state": "succeeded", "next_attempt_at": None, "finished_at": now}
    if not delivery_queries.change_attempt(session, parcel.delivery_id, parcel.attempt, **ended):
        return
    call.cost = read.cost
    annotator.cost_used += read.cost
    session.flush()
    if read.later:
        call.state, annotator.due_at = "accepted", now
    else:
        _take(session, project, pool, annotator, call, read=read, now=now, share=share)
    session.flush()


def _settle_failure(
    session: Session,
    annotator: Annotator,
    call: AnnotatorCall,
    parcel: Parcel,
    outcome: Outcome,
    *,
    error: _FailedError,
    now: datetime,
) -> None:
    """Send the batch again soon, or give the call up: an answer that makes no sense is asked for once."""
    passing = error.failure in {"timeout", "refused", "status"} and outcome.status != HTTPStatus.GONE
    if passing and parcel.attempt <= len(RETRIES):
        following = now + deliveries.wait(RETRIES[parcel.attempt - 1], outcome.retry_after_seconds)
        delivery_queries.change_attempt(session, parcel.delivery_id, parcel.attempt, next_attempt_at=following)
        return
    ended = {"state": "failed", "next_attempt_at": None, "finished_at": now}
    if not delivery_queries.change_attempt(session, parcel.delivery_id, parcel.attempt, **ended):
        return
    calls.fail(session, annotator, call, failure=error.failure, detail=error.detail, now=now)
    if outcome.status == HTTPStatus.GONE:
        annotator.failures, annotator.due_at = max(annotator.failures, calls.MOST_FAILURES), now
    session.flush()


def _read(session: Session, project: Project, annotator: Annotator, call: AnnotatorCall, outcome: Outcome) -> _Read:
    """The answer.

    Raises:
        _FailedError: it gives no labels.
    """
    if outcome.status is None:
        raise _FailedError("timeout" if outcome.timed_out else "refused", outcome.error or "No answer came.")
    if not outcome.succeeded:
        raise _FailedError("status", f"The program answered {outcome.status}.")
    if outcome.status == HTTPStatus.ACCEPTED:
        return _Read(cost=_cost_of(outcome.body), later=True)
    said = _decoded(outcome.body)
    values = Labels(project.task)
    _check(said, values, batch_queries.item_ids(session, call.job_id or ""))
    answers = [
        Answer(
            line=line,
            example_id=row.example_id,
            value=None if row.label is UNSET else values.encode(row.label),
            skip=row.skip,
            annotator=annotator.name,
            source="automated",
            batch_id=call.job_id,
            labeled_at=None,
        )
        for line, row in enumerate(said.labels, start=1)
    ]
    return _Read(answers, said.cost)


def _decoded(body: bytes | None) -> _Labels:
    if body is None:
        raise _FailedError("garbage", f"The answer has more than {MOST_BYTES} bytes.")
    try:
        said = msgspec.json.decode(body, type=_Labels)
    except msgspec.ValidationError as error:
        problem = explain_type(error)
        at = f" at {problem.pointer}" if problem.pointer else ""
        raise _FailedError("garbage", f"The answer is no body of labels{at}: {problem.detail}") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _FailedError("garbage", "The answer is not JSON.") from error
    if not 0 <= said.cost <= MOST_COST:
        raise _FailedError("garbage", "The answer's `cost` is negative or too large.")
    return said


def _cost_of(body: bytes | None) -> float:
    """The cost that came with a `202`, whose body may be anything."""
    try:
        cost = msgspec.json.decode(body or b"", type=_Later).cost
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return 0.0
    return cost if 0 <= cost <= MOST_COST else 0.0


def _check(said: _Labels, values: Labels, given: Collection[str]) -> None:
    """Refuse labels of examples that were not given, two of one, or of no class.

    Raises:
        _FailedError: nothing of the answer counts.
    """
    seen: set[str] = set()
    for line, row in enumerate(said.labels, start=1):
        if row.example_id not in given:
            raise _FailedError("foreign_examples", f"Row {line} is about an example that is not in the batch.")
        if row.example_id in seen:
            raise _FailedError("garbage", f"Row {line} is about an example that another row is about.")
        if row.skip == (row.label is not UNSET):
            raise _FailedError("garbage", f"Row {line} needs a label, or skip: true.")
        problem = None if row.label is UNSET else values.problem(row.label)
        if problem is not None:
            raise _FailedError("garbage", f"Row {line}, {problem.pointer}: {problem.detail}")
        seen.add(row.example_id)


def _take(
    session: Session,
    project: Project,
    pool: Pool,
    annotator: Annotator,
    call: AnnotatorCall,
    *,
    read: _Read,
    now: datetime,
    share: int,
) -> None:
    """Record the labels as every label is; examples that were deleted meanwhile are left out."""
    if read.answers:
        part = Part(read.answers, Recorded())
        labels.record_waves(session, project, pool, [[part]], now=now, share=share)
    count, _ = queries.answers(session, project.id, call.job_id or "", annotator.name)
    calls.succeed(session, annotator, call, labels=count, now=now)
