"""What the serving model last said of an example."""

from typing import Any, cast

from sqlalchemy.orm import Session

from service.db.queries import arrays, models, projects
from service.db.tables import Chunk as ChunkRow
from service.storage.chunks import Chunk, open_dense
from service.storage.objects import ObjectStore


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


def of_row(session: Session, project_id: str, row: int, *, objects: ObjectStore) -> dict[str, Any] | None:
    """The prediction of the serving model for a row of the pool; none before a query has scored it."""
    version = projects.pool(session, project_id).model_version
    model = models.get(session, project_id, version)
    found = arrays.chunk_of_row(session, project_id, array=array_name(version), row=row)
    if model is None or found is None:
        return None
    chunk = chunk_of(found)
    probabilities = open_dense(objects, chunk)[row - chunk.start].tolist()
    return {**prediction(model.classes, probabilities), "model_version": version}


def prediction(classes: list[str], probabilities: list[float]) -> dict[str, Any]:
    """Probabilities [classes] as clients see them."""
    best = max(range(len(classes)), key=probabilities.__getitem__)
    shown = {name: round(p, 6) for name, p in zip(classes, probabilities, strict=True)}
    return {"label": classes[best], "probabilities": shown}
