"""Predictions for examples that are not in the pool."""

import numpy as np
import orjson

from service.actions import models, projects
from service.actions.predictions import prediction
from service.catalog.tasks import task_of
from service.queue.messages import PredictMessage
from workers.jobs.context import JobContext
from workers.jobs.features import encoder_of, encoding
from workers.jobs.serving import open_model
from workers.learning.matrices import Matrix


def run(context: JobContext) -> None:
    """Predict the examples of the message, in their order."""
    message = context.claim.message
    assert isinstance(message, PredictMessage)  # noqa: S101 - the kind of the job says so
    with context.fenced() as (session, _):
        project = projects.get(session, context.project_id)
        model = models.get(session, project.id, message.version)
    inputs = orjson.loads(context.objects.get(message.inputs_key))
    encode = encoding(project.features, encoder_of(context, project.features, model))
    X: Matrix = np.array(inputs, dtype=np.float32) if encode is None else encode(inputs)
    task = task_of(project.task)
    trained = open_model(context, model, task)
    answers = [prediction(task, model.classes, p) for p in trained.predict_proba(X).tolist()]
    with context.fenced() as (session, _):
        context.finish(session, {"model_version": model.version, "predictions": answers})
    context.objects.delete(message.inputs_key)
