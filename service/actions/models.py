"""Models, and predictions for examples outside the pool."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy.orm import Session

from service.actions import jobs
from service.actions.contents import content_of
from service.catalog.tasks import begins, classes_of
from service.codecs.vectors import decode_vectors
from service.db.queries import models as queries
from service.db.queries import projects as project_queries
from service.db.tables import Job, Model, Pool, Project
from service.errors import FieldError, InvalidRequestError, NotFoundError, RemovedError
from service.queue.messages import PredictMessage
from service.storage.artifacts import new_inputs_key
from service.storage.objects import ObjectStore

MERGED = "merged"
"""The note beside a model's estimator that one of its classes was merged since."""


def get(session: Session, project_id: str, version: int) -> Model:
    """One version of a project's model."""
    model = queries.get(session, project_id, version)
    if model is None:
        raise NotFoundError("There is no such version of the model.")
    return model


def kind_of(model: Model) -> str:
    """`trained` here, or `external`: a model of the client's own, of which only predictions are known."""
    return "trained" if model.name is None else "external"


def fits(project: Project, model: Model) -> bool:
    """Whether the model's classes are still the project's, and none of them was merged since.

    Names alone do not tell: what is left of a merge can be given the name of what went.
    """
    return not model.estimator.get(MERGED) and begins(classes_of(project.task), model.classes)


def features_of(project: Project, model: Model | None) -> dict[str, Any]:
    """The definition of the features that a model was trained on; without one, of those that the next is trained on."""
    noted = _features_noted(model)
    definition: dict[str, Any] = noted.get("definition", project.features)
    return definition


def array_noted(model: Model | None) -> str | None:
    """The array that a model was trained on; models of earlier releases, and those of clients, tell of none."""
    return _features_noted(model).get("array")


def _features_noted(model: Model | None) -> dict[str, Any]:
    noted: dict[str, Any] = {} if model is None else model.estimator.get("features", {})
    return noted


def get_trained(session: Session, project_id: str, version: int) -> Model:
    """One version that was trained here.

    Raises:
        InvalidRequestError: It is a model of the client's own.
    """
    model = get(session, project_id, version)
    if model.name is not None:
        detail = "Only predictions of this model were uploaded: ask the model itself, or name a version trained here."
        raise InvalidRequestError(detail, errors=[FieldError("/path/version", "external_model", detail)])
    return model


def get_with_file(session: Session, project_id: str, version: int) -> Model:
    """One version that was trained here and can be asked.

    Raises:
        InvalidRequestError: It is a model of the client's own.
        RemovedError: Its file is gone.
    """
    model = get_trained(session, project_id, version)
    check_kept(model)
    return model


def why_removed(model: Model) -> str | None:
    """What the retention has removed of a model; None: nothing."""
    if model.removed_at is None:
        return None
    if model.name is None:
        return (
            "The file of this model was removed, as it is old and serves no more (GLEANER_KEEP_MODELS, "
            "GLEANER_KEEP_MODELS_DAYS). Name a newer version, or train again."
        )
    return (
        "The predictions of this version were removed, as it serves no more (GLEANER_KEEP_PREDICTIONS_DAYS). Upload "
        "them again, as a new version."
    )


def check_kept(model: Model) -> None:
    """See that nothing of a model was removed.

    Raises:
        RemovedError: Its file, or what was uploaded of it, is gone.
    """
    reason = why_removed(model)
    if reason is not None:
        raise RemovedError(reason)


def pool(session: Session, project_id: str) -> Pool:
    """Which version serves."""
    return project_queries.pool(session, project_id)


def page(session: Session, project_id: str, *, below: int | None, size: int) -> Sequence[Model]:
    """Models, the newest first."""
    return queries.page(session, project_id, below=below, size=size)


def curve(session: Session, project_id: str) -> Sequence[Model]:
    """All models, the oldest first: the points of the learning curve."""
    return queries.curve(session, project_id)


def keep_inputs(project: Project, examples: list[dict[str, Any]], *, objects: ObjectStore) -> str:
    """Check examples against the project's features and keep what a model sees of them; returns where.

    To be called before the transaction of `predict`, which must not wait for the object store.
    """
    inputs = _vectors(project, examples) if project.features["type"] == "vector" else _contents(project, examples)
    key = new_inputs_key(project.id)
    objects.put_bytes(key, orjson.dumps(inputs))
    return key


def predict(
    session: Session, project: Project, version: int, inputs_key: str, *, now: datetime, share: int, room: jobs.Room
) -> Job:
    """Queue predictions for kept inputs."""
    get_with_file(session, project.id, version)
    message = PredictMessage(version=version, inputs_key=inputs_key)
    return jobs.enqueue(
        session, project_id=project.id, kind="predict", message=message, now=now, share=share, room=room
    )


def _contents(project: Project, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    content = content_of(project)
    found = [content.problem(example["data"]) for example in examples]
    _refuse([replace(p, pointer=f"/examples/{position}{p.pointer}") for position, p in enumerate(found) if p])
    stray = [position for position, example in enumerate(examples) if example["vector"] is not None]
    needed = "The features of this project are read from `data`."
    _refuse([FieldError(f"/examples/{position}/vector", "unknown_field", needed) for position in stray])
    return [example["data"] for example in examples]


def _vectors(project: Project, examples: list[dict[str, Any]]) -> list[list[float]]:
    missing = [position for position, example in enumerate(examples) if example["vector"] is None]
    needed = f"A vector of {project.features['dimensions']} numbers is needed here."
    _refuse([FieldError(f"/examples/{position}/vector", "missing_field", needed) for position in missing])
    matrix, bad = decode_vectors([example["vector"] for example in examples], project.features["dimensions"])
    _refuse([replace(error, pointer=f"/examples/{position}{error.pointer}") for position, error in bad.items()])
    vectors: list[list[float]] = matrix.tolist()
    return vectors


def _refuse(errors: list[FieldError]) -> None:
    if errors:
        raise InvalidRequestError("The examples do not have the features of this project.", errors=errors)
