"""What models say of the rows of a pool: where it is kept, and how clients see it."""

from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.catalog.tasks import NUMBER_COLUMNS, Task, task_of
from service.db.queries import arrays, models, projects
from service.db.tables import Chunk as ChunkRow
from service.db.tables import Model, Project
from service.storage.chunks import Chunk, open_dense
from service.storage.objects import ObjectStore

THRESHOLD = 0.5
"""From which probability on one of several classes is said to apply."""


def array_name(version: int) -> str:
    """The array that holds the predictions of a model."""
    return f"predictions:{version}"


def members_name(version: int) -> str:
    """The array that holds the predictions of each member of a model's committee, side by side."""
    return f"members:{version}"


class Arrays(NamedTuple):
    """The arrays of what a model says.

    Attributes:
        predictions: Zeros for rows that have none.
        members: Those of the members of its committee, side by side.
        vectors: Uploaded with predictions.
        told: 1 for rows that have an uploaded prediction.
    """

    predictions: str
    members: str
    vectors: str
    told: str


def arrays_of(model: Model) -> Arrays:
    """Where the predictions of a model are: a trained one's can be made again, those of the client's own cannot."""
    version = model.version
    if model.name is None:
        return Arrays(array_name(version), members_name(version), f"vectors:{version}", f"told:{version}")
    names = ("external", "external-members", "external-vectors", "external-told")
    return Arrays(*(f"{name}:{version}" for name in names))


def is_record(array: str) -> bool:
    """Whether no job can make an array again."""
    return array == "vectors" or array.startswith("external")


def told_in(objects: ObjectStore, chunk: Chunk) -> NDArray[np.bool_]:
    """Which rows of a chunk of `told` [its rows] have a prediction."""
    marks: NDArray[np.bool_] = open_dense(objects, chunk)[:, 0] != 0
    return marks


def chunk_of(row: ChunkRow) -> Chunk:
    """The chunk that a table row records."""
    kind = cast("Any", row.kind)
    return Chunk(row.array, row.start, row.stop, kind, row.key, row.columns, row.dtype)


class Place(NamedTuple):
    """Where the prediction of the serving model for a row is."""

    task: Task
    model: Model
    row: int
    chunk: Chunk
    marks: Chunk | None


def find(session: Session, project: Project, row: int) -> Place | None:
    """Where the prediction of the serving model for a row of the pool is; none before a query has scored it."""
    model = models.get(session, project.id, projects.pool(session, project.id).model_version)
    if model is None:
        return None
    names = arrays_of(model)
    found = arrays.chunk_of_row(session, project.id, array=names.predictions, row=row)
    if found is None:
        return None
    task, chunk = task_of(project.task), chunk_of(found)
    if model.name is None:
        return Place(task, model, row, chunk, None)
    marks = arrays.chunk_of_row(session, project.id, array=names.told, row=row)
    return Place(task, model, row, chunk, chunk_of(marks)) if marks is not None else None


def read(place: Place, *, objects: ObjectStore) -> dict[str, Any] | None:
    """The prediction that is there; none when the client's own model has told nothing of the row."""
    task, model, row, chunk, marks = place
    if marks is not None and not told_in(objects, marks)[row - marks.start]:
        return None
    said = open_dense(objects, chunk)[row - chunk.start].tolist()
    return {**prediction(task, model.classes, said), "model_version": model.version}


def prediction(task: Task, classes: list[str], said: list[float]) -> dict[str, Any]:
    """What a model says of an example, in the columns of the task, as clients see it."""
    if task == "regression":
        return {name: _shown(value) for name, value in zip(NUMBER_COLUMNS, said, strict=True)}
    shown = {name: round(p, 6) for name, p in zip(classes, said, strict=True)}
    if task == "multi_label":
        chosen = [name for name, p in zip(classes, said, strict=True) if p >= THRESHOLD]
        return {"label": chosen, "probabilities": shown}
    return {"label": classes[max(range(len(classes)), key=said.__getitem__)], "probabilities": shown}


def _shown(value: float) -> float:
    """As many digits as single precision has."""
    return float(f"{value:.7g}")
