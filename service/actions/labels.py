"""Labels: one current answer of each annotator for each example."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from service.actions import bulk, label_rows, programs, projects, trainings
from service.actions.bulk import BulkRequest, Outcome, RowErrors, RowSpool
from service.actions.label_rows import Answer
from service.actions.label_values import Labels, decode
from service.actions.projects import gold_share_of
from service.actions.recording import Part, Recorded, Recorder
from service.actions.trainings import TrainingNote
from service.catalog.tasks import Task, task_of
from service.codecs.bodies import decode_labels
from service.db.queries import examples as example_queries
from service.db.queries import labels as queries
from service.db.tables import Label, Pool, Project
from service.errors import NotFoundError, UnavailableError

_WAVE_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a body of labels, and the training that it led to."""

    outcome: Outcome
    training: TrainingNote


@dataclass(frozen=True, slots=True)
class Submission:
    """A body of labels; `keep` is called with the result in the transaction that records it."""

    request: BulkRequest
    keep: Callable[[Session, Submitted], None]


@dataclass(slots=True)
class _Checked:
    """A body whose rows were read; `result` is set as soon as it is known."""

    submission: Submission
    project: Project
    errors: RowErrors
    spool: RowSpool[Answer]
    received: int = 0
    result: Submitted | Exception | None = None

    @property
    def atomic(self) -> bool:
        return self.submission.request.mode == "atomic"


class _RejectedError(Exception):
    """Rows turned out to be bad when others of their body were recorded: roll it back."""


def submit(submissions: Sequence[Submission]) -> list[Submitted | Exception]:
    """Check bodies of labels for one project and record them, each one as if it came alone.

    They share transactions, of at most `max_labels` rows each: other writers wait for them.

    Returns:
        What became of each one, in their order: a bad one leaves the others as they are, and when the database stops to
        answer, those which were not recorded by then have its error.

    Raises:
        NotFoundError: There is no such project.
        OperationalError: The database does not answer.
    """
    request = submissions[0].request
    with request.look() as session:
        project = projects.get(session, request.project_id)
    with ExitStack() as stack:
        bodies = [_check(stack, submission, project) for submission in submissions]
        waiting = [body for body in bodies if body.result is None]
        try:
            for run in _runs(waiting, most=request.settings.max_labels):
                _write(request, run)
        except (OperationalError, UnavailableError) as error:
            for body in waiting:
                body.result = body.result or error
        return [body.result or _reject(body) for body in bodies]


def _check(stack: ExitStack, submission: Submission, project: Project) -> _Checked:
    request = submission.request
    body = _Checked(
        submission,
        project,
        stack.enter_context(RowErrors(request.objects)),
        stack.enter_context(RowSpool(Answer, request.settings.spool_dir)),
    )
    # All of them go into one transaction, which must not keep other writers waiting for long.
    limits = replace(request.limits, max_rows=min(request.limits.max_rows, request.settings.max_labels))
    request.body.seek(0)
    try:
        blocks = decode_labels(request.body, request.media, limits=limits)
        labels = Labels(project.task, textual=request.media.format == "csv")
        body.received = label_rows.read(blocks, labels, spool=body.spool, errors=body.errors, now=request.clock())
        if body.errors.count and body.atomic:
            body.result = _reject(body)
    except Exception as error:  # noqa: BLE001 - the result of this one
        body.result = error
    return body


def _reject(body: _Checked) -> Exception:
    try:
        return bulk.reject(body.submission.request, body.errors, received=body.received)
    except Exception as error:  # noqa: BLE001 - the result of this one: others of its group are recorded
        return error


def _runs(bodies: Iterable[_Checked], *, most: int) -> Iterator[list[_Checked]]:
    """The bodies in order, as many at a time as have so many rows together; none has more."""
    run: list[_Checked] = []
    rows = 0
    for body in bodies:
        if run and rows + body.spool.rows > most:
            yield run
            run, rows = [], 0
        run.append(body)
        rows += body.spool.rows
    if run:
        yield run


def _write(request: BulkRequest, bodies: Sequence[_Checked]) -> None:
    """Record all of them; without a result stay those which must be rejected."""
    results: Sequence[Submitted | Exception | None]
    try:
        with request.write() as session:
            results = _record(session, request, bodies)
    except (OperationalError, UnavailableError):
        raise
    except Exception as error:  # noqa: BLE001 - the result of one of them
        if len(bodies) > 1:
            results = _one_by_one([body.submission for body in bodies])
        else:
            results = [None if isinstance(error, _RejectedError) else error]
    for body, result in zip(bodies, results, strict=True):
        body.result = result


def _one_by_one(submissions: Sequence[Submission]) -> list[Submitted | Exception]:
    """One of them cannot be recorded, which only the database could tell: the others shall not suffer from it."""
    results: list[Submitted | Exception] = []
    for submission in submissions:
        try:
            results += submit([submission])
        except Exception as error:  # noqa: BLE001 - the result of this one
            results.append(error)
    return results


def _record(session: Session, request: BulkRequest, bodies: Sequence[_Checked]) -> list[Submitted | None]:
    now = request.clock()
    project, pool = projects.lock_as_read(session, bodies[0].project)
    records = [Recorded() for _ in bodies]
    note = record_waves(session, project, pool, _waves(bodies, records), now=now, share=request.share)
    if gold_share_of(project):
        note = replace(note, labels_until_next=None)  # an answer to a question would leave it as it is
    results: list[Submitted | None] = []
    for body, recorded in zip(bodies, records, strict=True):
        body.errors.add(recorded.errors)
        if recorded.errors and body.atomic:
            if recorded.did_something:
                raise _RejectedError
            results.append(None)
            continue
        outcome = Outcome(
            received=body.received,
            created=recorded.created,
            updated=recorded.updated,
            unchanged=recorded.unchanged,
            rejected=body.errors.count,
            errors=sorted(body.errors.first, key=lambda error: error.line or 0),
            errors_url=body.errors.save(session, project.id, now=now),
        )
        submitted = Submitted(outcome, note)
        body.submission.keep(session, submitted)
        results.append(submitted)
    return results


def _waves(bodies: Sequence[_Checked], records: Sequence[Recorded]) -> Iterator[list[Part]]:
    """The answers of some bodies in order, gathered while no two are of one annotator for one example."""
    wave: list[Part] = []
    pairs: set[tuple[str, str]] = set()
    for body, recorded in zip(bodies, records, strict=True):
        for answers in body.spool.frames():
            own = {(answer.example_id, answer.annotator) for answer in answers}
            if wave and (len(pairs) + len(own) > _WAVE_ROWS or not pairs.isdisjoint(own)):
                yield wave
                wave, pairs = [], set()
            wave.append(Part(answers, recorded, atomic=body.atomic))
            pairs |= own
    if wave:
        yield wave


def record_waves(
    session: Session, project: Project, pool: Pool, waves: Iterable[Sequence[Part]], *, now: datetime, share: int
) -> TrainingNote:
    """Record answers, then apply the retraining policy once; the pool is locked."""
    generation = pool.label_generation
    recorder = Recorder(session, project, pool, now=now, programs=programs.heard(session, pool))
    for wave in waves:
        recorder.add(wave)
    recorder.finish()
    if pool.label_generation == generation:
        return trainings.note(session, project, pool)
    return trainings.after_labels(session, project, pool, now=now, share=share)


@dataclass(frozen=True, slots=True)
class LabelView:
    """A label with what the batch that led to it knows."""

    task: Task
    label: Label
    split: str  # of its example
    strategy: str | None
    seed: int | None
    model_version: int | None
    propensity: float | None

    @property
    def value(self) -> Any:
        """A class, a list of classes or a number; None for a skip."""
        return decode(self.task, self.label.value)


def page(session: Session, project: Project, *, after: str | None, size: int) -> list[LabelView]:
    """Labels in order of creation, from behind an id on."""
    task = task_of(project.task)
    return [LabelView(task, *tuple(row)) for row in queries.page(session, project.id, after=after or "", size=size)]


def of_examples(session: Session, project_id: str, example_ids: Sequence[str]) -> dict[str, list[Any]]:
    """The labels of some examples, by example, the oldest first."""
    found: dict[str, list[Any]] = {}
    labels = queries.of_examples(session, project_id, example_ids)
    for label in sorted(labels, key=lambda label: str(label.id)):
        found.setdefault(label.example_id, []).append(label)
    return found


def delete(session: Session, project_id: str, label_id: str, *, now: datetime, share: int) -> None:
    """Remove a label; it stays in the history, and its example may be picked again."""
    project, pool = projects.lock(session, project_id)
    label = queries.get(session, project_id, label_id)
    if label is None:
        raise NotFoundError("There is no such label.")
    known = example_queries.find(session, project_id, [label.example_id])
    recorder = Recorder(session, project, pool, now=now)
    recorder.forget([label], known)
    recorder.finish()
    trainings.after_labels(session, project, pool, now=now, share=share)
