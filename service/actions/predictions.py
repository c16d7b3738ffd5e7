"""What the serving model last said of an example."""

from typing import Any, cast

from sqlalchemy.orm import Session

from service.catalog.tasks import NUMBER_COLUMNS, Task, task_of
from service.db.queries import arrays, models, projects
from service.db.tables import Chunk as ChunkRow
from service.db.tables import Project
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


def chunk_of(row: ChunkRow) -> Chunk:
    """The chunk that a table row records."""
    kind = cast("Any", row.kind)
    return Chunk(row.array, row.start, row.stop, kind, row.key, row.columns, row.dtype)


def of_row(session: Session, project: Project, row: int, *, objects: ObjectStore) -> dict[str, Any] | None:
    """The prediction of the serving model for a row of the pool; none before a query has scored it."""
    version = projects.pool(session, project.id).model_version
    model = models.get(session, project.id, version)
    found = arrays.chunk_of_row(session, project.id, array=array_name(version), row=row)
    if model is None or found is None:
        return None
    chunk = chunk_of(found)
    said = open_dense(objects, chunk)[row - chunk.start].tolist()
    return {**prediction(task_of(project.task), model.classes, said), "model_version": version}


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
