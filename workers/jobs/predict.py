"""Predictions for examples that are not in the pool."""

import numpy as np
import orjson

from service.actions import models, projects
from service.actions.predictions import prediction
from service.catalog.tasks import task_of
from service.db.tables import Model, Project
from service.errors import DamagedObjectError
from service.queue.messages import PredictMessage
from workers.jobs.context import JobContext
from workers.jobs.features import encoding_of
from workers.jobs.serving import open_model
from workers.learning.matrices import Matrix


def run(context: JobContext) -> None:
    """Predict the examples of the message, in their order."""
    message = context.claim.message
    assert isinstance(message, PredictMessage)  # noqa: S101 - the kind of the job says so
    with context.fenced() as (session, _):
        project = projects.get(session, context.project_id)
        model = models.get_with_file(session, project.id, message.version)
    X = _inputs(context, message.inputs_key, project, model)
    task = task_of(project.task)
    trained = open_model(context, model, task, X[:1])
    answers = [prediction(task, model.classes, p) for p in trained.predictions(X).tolist()]
    with context.fenced() as (session, _):
        context.finish(session, {"model_version": model.version, "predictions": answers})


def _inputs(context: JobContext, key: str, project: Project, model: Model) -> Matrix:
    """What a model sees of the kept examples, which are one row each."""
    encode = encoding_of(context, project, model)
    damaged = DamagedObjectError(key, "it holds no examples of the project.")
    try:
        inputs = list(orjson.loads(context.objects.get(key)))
        if encode is None:
            X: Matrix = np.array(inputs, dtype=np.float32).reshape(len(inputs), project.features["dimensions"])
        else:
            X = encode([dict(data) for data in inputs])
    except (ValueError, TypeError, KeyError) as error:
        raise damaged from error
    if not inputs:
        raise damaged
    return X
