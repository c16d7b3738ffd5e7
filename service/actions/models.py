"""Models, and predictions for examples outside the pool."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy.orm import Session

from service.actions import jobs
from service.db.queries import models as queries
from service.db.tables import Job, Model, Project
from service.errors import FieldError, InvalidRequestError, NotFoundError
from service.queue.messages import PredictMessage
from service.storage.artifacts import new_inputs_key
from service.storage.objects import ObjectStore


def get(session: Session, project_id: str, version: int) -> Model:
    """One version of a project's model."""
    model = queries.get(session, project_id, version)
    if model is None:
        raise NotFoundError("There is no such version of the model.")
    return model


def page(session: Session, project_id: str, *, below: int | None, size: int) -> Sequence[Model]:
    """Models, the newest first."""
    return queries.page(session, project_id, below=below, size=size)


def curve(session: Session, project_id: str) -> Sequence[Model]:
    """All models, the oldest first: the points of the learning curve."""
    return queries.curve(session, project_id)


def predict(
    session: Session,
    project: Project,
    version: int,
    examples: list[dict[str, Any]],
    *,
    objects: ObjectStore,
    now: datetime,
    share: int,
) -> Job:
    """Queue predictions for examples; what they hold is checked against the project's features before."""
    get(session, project.id, version)
    inputs = [_input(project, example, position) for position, example in enumerate(examples)]
    key = new_inputs_key(project.id)
    objects.put_bytes(key, orjson.dumps(inputs))
    message = PredictMessage(version=version, inputs_key=key)
    return jobs.enqueue(session, project_id=project.id, kind="predict", message=message, now=now, share=share)


def _input(project: Project, example: dict[str, Any], position: int) -> Any:
    if project.features["type"] == "text":
        field = project.features["field"]
        text = (example.get("data") or {}).get(field)
        if isinstance(text, str):
            return text
        raise _bad(f"/examples/{position}/data/{field}", "A text is needed here.")
    vector, dimensions = example.get("vector"), project.features["dimensions"]
    if vector is not None and len(vector) == dimensions:
        return vector
    raise _bad(f"/examples/{position}/vector", f"A vector of {dimensions} numbers is needed here.")


def _bad(pointer: str, detail: str) -> InvalidRequestError:
    return InvalidRequestError(detail, errors=[FieldError(pointer, "wrong_features", detail)])
