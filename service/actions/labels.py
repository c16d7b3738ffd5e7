"""Labels: one current answer of each annotator for each example."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from service.actions import bulk, label_rows, projects, trainings
from service.actions.bulk import BulkRequest, Outcome, RowErrors, RowSpool
from service.actions.label_rows import Answer
from service.actions.recording import Recorded, Recorder
from service.actions.trainings import TrainingNote
from service.codecs.bodies import decode_labels
from service.db.queries import examples as example_queries
from service.db.queries import labels as queries
from service.db.queries.projects import lock_pool
from service.db.tables import Label, Project
from service.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of a body of labels, and the training that it led to."""

    outcome: Outcome
    training: TrainingNote


class _RejectedError(Exception):
    """Rows turned out to be bad in the transaction: roll it back."""


def submit(request: BulkRequest, *, keep: Callable[[Session, Submitted], None]) -> Submitted:
    """Check a body of labels and record it in one transaction, in which `keep` is called with the result."""
    with request.read() as session:
        project = projects.get(session, request.project_id)
    with (
        RowErrors(request.objects) as errors,
        RowSpool(Answer, request.settings.spool_dir) as spool,
    ):
        # All of them go into one transaction, which must not keep other writers waiting for long.
        limits = replace(request.limits, max_rows=min(request.limits.max_rows, request.settings.max_labels))
        blocks = decode_labels(request.body, request.media, limits=limits)
        received = label_rows.read(blocks, project, spool=spool, errors=errors, now=request.clock())
        if errors.count and request.mode == "atomic":
            raise bulk.reject(request, errors, received=received)
        try:
            with request.write() as session:
                submitted = _record(session, request, spool, errors, received=received)
                keep(session, submitted)
        except _RejectedError:
            raise bulk.reject(request, errors, received=received) from None
    return submitted


def _record(
    session: Session, request: BulkRequest, spool: RowSpool[Answer], errors: RowErrors, *, received: int
) -> Submitted:
    now = request.clock()
    project = projects.get(session, request.project_id)
    parts = (answers for answers, _ in spool.frames())
    recorded, note = record_labels(session, project, parts, now=now, share=request.share)
    errors.add(recorded.errors)
    if recorded.errors and request.mode == "atomic":
        raise _RejectedError
    outcome = Outcome(
        received=received,
        created=recorded.created,
        updated=recorded.updated,
        unchanged=recorded.unchanged,
        rejected=errors.count,
        errors=sorted(errors.first, key=lambda error: error.line or 0),
        errors_url=errors.save(session, project.id, now=now),
    )
    return Submitted(outcome, note)


def record_labels(
    session: Session, project: Project, parts: Iterable[Sequence[Answer]], *, now: datetime, share: int
) -> tuple[Recorded, TrainingNote]:
    """Record answers, of which no two are of one annotator for one example; then apply the retraining policy."""
    pool = lock_pool(session, project.id)
    generation = pool.label_generation
    recorder = Recorder(session, project, pool, now=now)
    for answers in parts:
        recorder.add(answers)
    recorded = recorder.finish()
    if pool.label_generation == generation:
        return recorded, trainings.note(session, project, pool)
    return recorded, trainings.after_labels(session, project, pool, now=now, share=share)


@dataclass(frozen=True, slots=True)
class LabelView:
    """A label with what the batch that led to it knows."""

    label: Label
    strategy: str | None
    seed: int | None
    model_version: int | None
    propensity: float | None


def page(session: Session, project_id: str, *, after: str | None, size: int) -> list[LabelView]:
    """Labels in order of creation, from behind an id on."""
    return [LabelView(*tuple(row)) for row in queries.page(session, project_id, after=after or "", size=size)]


def of_examples(session: Session, project_id: str, example_ids: Sequence[str]) -> dict[str, list[Any]]:
    """The labels of some examples, by example, the oldest first."""
    found: dict[str, list[Any]] = {}
    labels = queries.of_examples(session, project_id, example_ids)
    for label in sorted(labels, key=lambda label: str(label.id)):
        found.setdefault(label.example_id, []).append(label)
    return found


def delete(session: Session, project_id: str, label_id: str, *, now: datetime, share: int) -> None:
    """Remove a label; it stays in the history, and its example may be picked again."""
    project = projects.get(session, project_id)
    pool = lock_pool(session, project_id)
    label = queries.get(session, project_id, label_id)
    if label is None:
        raise NotFoundError("There is no such label.")
    (known,) = example_queries.find(session, project_id, [label.example_id]).values()
    recorder = Recorder(session, project, pool, now=now)
    recorder.forget([label], known)
    recorder.finish()
    trainings.after_labels(session, project, pool, now=now, share=share)
