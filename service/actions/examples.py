"""Examples: read and delete."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from service.actions import arrays, labels, predictions, projects, trainings
from service.actions.candidates import Moves, is_out
from service.actions.recording import Recorder
from service.db.queries import examples as queries
from service.db.tables import Example
from service.errors import NotFoundError
from service.storage.objects import ObjectStore

Status = queries.Status


@dataclass(frozen=True, slots=True)
class ExampleView:
    """An example, what became of it and its labels."""

    example: Example
    status: Status
    labels: list[Any]


def page(
    session: Session, project_id: str, *, status: Status | None, after: int, size: int, now: datetime
) -> list[ExampleView]:
    """Examples in the order of their last upload, from behind a row on."""
    overlap: int = projects.get(session, project_id).annotation["overlap"]
    found = queries.page(session, project_id, status=status, overlap=overlap, after=after, size=size, now=now)
    return _views(session, project_id, found, overlap=overlap, now=now)


def get(session: Session, project_id: str, example_id: str, *, now: datetime) -> ExampleView:
    """One example."""
    overlap: int = projects.get(session, project_id).annotation["overlap"]
    (view,) = _views(session, project_id, [_example(session, project_id, example_id)], overlap=overlap, now=now)
    return view


def _example(session: Session, project_id: str, example_id: str) -> Example:
    example = queries.get(session, project_id, example_id)
    if example is None:
        raise NotFoundError("The project has no such example.")
    return example


def _views(
    session: Session, project_id: str, examples: Sequence[Example], *, overlap: int, now: datetime
) -> list[ExampleView]:
    answered = [example.example_id for example in examples if example.label_count or example.skip_count]
    by_example = labels.of_examples(session, project_id, answered)
    leased = queries.leased(session, project_id, [example.example_id for example in examples], now=now)
    views = []
    for example in examples:
        if example.label_count:
            status: Status = "labeled"
        elif is_out(example.skip_count, overlap):
            status = "skipped"
        else:
            status = "leased" if example.example_id in leased else "unlabeled"
        views.append(ExampleView(example, status, by_example.get(example.example_id, [])))
    return views


def last_prediction(session: Session, example: Example, *, objects: ObjectStore) -> dict[str, Any] | None:
    """What the serving model last said of an example."""
    return predictions.of_row(session, example.project_id, example.row, objects=objects)


def delete(session: Session, project_id: str, example_id: str, *, now: datetime, share: int) -> None:
    """Remove an example; its labels stay in the history, and its row becomes a hole."""
    project, pool = projects.lock(session, project_id)
    (known,) = queries.find(session, project_id, [_example(session, project_id, example_id).example_id]).values()
    moves = Moves()
    recorder = Recorder(session, project, pool, now=now, moves=moves)
    recorder.forget(labels.of_examples(session, project_id, [example_id]).get(example_id, []), known)
    moves.add(known.row, value=False)
    pool.examples -= 1
    pool.loose_vectors -= queries.drop_vectors(session, project_id, [known.row])
    queries.remove(session, project_id, example_id)
    recorder.finish()
    arrays.zero_later(session, project_id, now=now, share=share)
    if known.label_count:
        trainings.after_labels(session, project, pool, now=now, share=share)
