"""Examples: read, change and delete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from msgspec import UNSET
from sqlalchemy.orm import Session

from service.actions import arrays, labels, predictions, projects, trainings
from service.actions.bulk import Transaction
from service.actions.candidates import Moves, is_out
from service.actions.example_rows import dimensions_of
from service.actions.recording import Recorder
from service.catalog.tasks import Task, task_of
from service.codecs.rows import ExampleRow, content_hash
from service.db.queries import examples as queries
from service.db.queries import rankings
from service.db.tables import Example, Project
from service.errors import DamagedObjectError, NotFoundError
from service.storage.objects import ObjectNotFoundError, ObjectStore

Status = queries.Status


@dataclass(frozen=True, slots=True)
class ExampleView:
    """An example, what became of it and its labels."""

    task: Task
    example: Example
    status: Status
    labels: list[Any]


def page(
    session: Session, project_id: str, *, status: Status | None, after: int, size: int, now: datetime
) -> list[ExampleView]:
    """Examples in the order of their last upload, from behind a row on."""
    project = projects.get(session, project_id)
    overlap: int = project.annotation["overlap"]
    found = queries.page(session, project_id, status=status, overlap=overlap, after=after, size=size, now=now)
    return _views(session, project, found, now=now)


def get(session: Session, project_id: str, example_id: str, *, now: datetime) -> ExampleView:
    """One example."""
    project = projects.get(session, project_id)
    (view,) = _views(session, project, [_example(session, project_id, example_id)], now=now)
    return view


def _example(session: Session, project_id: str, example_id: str) -> Example:
    example = queries.get(session, project_id, example_id)
    if example is None:
        raise NotFoundError("The project has no such example.")
    return example


def _views(session: Session, project: Project, examples: Sequence[Example], *, now: datetime) -> list[ExampleView]:
    overlap, task = project.annotation["overlap"], task_of(project.task)
    answered = [example.example_id for example in examples if example.label_count or example.skip_count]
    by_example = labels.of_examples(session, project.id, answered)
    leased = queries.leased(session, project.id, [example.example_id for example in examples], now=now)
    views = []
    for example in examples:
        if example.label_count:
            status: Status = "labeled"
        elif is_out(example.skip_count, overlap):
            status = "skipped"
        else:
            status = "leased" if example.example_id in leased else "unlabeled"
        views.append(ExampleView(task, example, status, by_example.get(example.example_id, [])))
    return views


def last_prediction(read: Transaction, example: Example, *, objects: ObjectStore) -> dict[str, Any] | None:
    """What the serving model last said of an example.

    Raises:
        DamagedObjectError: The file that holds it is lost.
    """
    lost = ""
    while True:
        try:
            with read() as session:
                place = predictions.find(session, projects.get(session, example.project_id), example.row)
            return predictions.read(place, objects=objects) if place is not None else None
        except ObjectNotFoundError as error:  # a merge has replaced it since it was listed, or somebody has deleted it
            if error.key == lost:
                raise DamagedObjectError(error.key, "it is lost.") from error
            lost = error.key


def change(
    session: Session, project_id: str, example_id: str, changes: Mapping[str, Any], *, now: datetime
) -> ExampleView:
    """Change the group or the priority of an example, or pin it; prepared rankings are made anew."""
    project, _ = projects.lock(session, project_id)
    example = _example(session, project_id, example_id)
    for name, value in changes.items():
        setattr(example, name, value)
    example.content_hash = _content_hash(project, example)
    example.updated_at = now
    session.flush()
    rankings.forget(session, project_id)
    (view,) = _views(session, project, [example], now=now)
    return view


def _content_hash(project: Project, example: Example) -> bytes:
    """As if it had been uploaded as it is now: an upload of what it was before is a change."""
    data = UNSET if example.data is None else orjson.loads(example.data)
    split: Any = example.split  # the column holds the splits only
    row = ExampleRow(example.example_id, data=data, split=split, group=example.group, priority=example.priority)
    return content_hash(row, example.features_hash if dimensions_of(project) is not None else None)


def delete(session: Session, project_id: str, example_id: str, *, now: datetime, share: int) -> None:
    """Remove an example; its labels stay in the history, and its row becomes a hole."""
    project, pool = projects.lock(session, project_id)
    found = queries.find(session, project_id, [_example(session, project_id, example_id).example_id])
    known = found[example_id]
    moves = Moves()
    recorder = Recorder(session, project, pool, now=now, moves=moves)
    recorder.forget(labels.of_examples(session, project_id, [example_id]).get(example_id, []), found)
    moves.add(known.row, value=False)
    pool.examples -= 1
    pool.loose_vectors -= queries.drop_vectors(session, project_id, [known.row])
    queries.remove(session, project_id, example_id)
    recorder.finish()
    arrays.tidy_later(session, project_id, now=now, share=share)
    if known.label_count:
        trainings.after_labels(session, project, pool, now=now, share=share)
