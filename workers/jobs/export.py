"""A model in ONNX."""

from importlib.util import find_spec

import numpy as np

from service.actions import digests, exports, models, projects
from service.catalog.tasks import task_of
from service.db.tables import Model
from service.errors import UnsupportedFeatureError
from service.queue.messages import ExportMessage
from service.storage.artifacts import onnx_key
from workers.jobs.context import JobContext
from workers.jobs.serving import open_model
from workers.learning.estimators.model import TrainedModel

_PACKAGES = ("onnx", "skl2onnx")


def run(context: JobContext) -> None:
    """Convert the version of the message, and keep its file beside the model's own.

    Raises:
        UnsupportedFeatureError: it cannot be converted, or not by this worker.
    """
    message = context.claim.message
    assert isinstance(message, ExportMessage)  # noqa: S101 - the kind of the job says so
    with context.read() as session:
        project = projects.get(session, context.project_id)
        model = models.get_with_file(session, project.id, message.version)
    exports.check_onnx(project, model)
    if any(find_spec(name) is None for name in _PACKAGES):
        raise UnsupportedFeatureError("Workers make ONNX where the extra `onnx` of gleaner is installed.")
    from workers.learning.onnx_format import to_onnx  # noqa: PLC0415 - its packages are optional

    context.progress.tell(0, 1, "converting")
    row = np.zeros((1, project.features["dimensions"]), dtype=np.float32)
    trained = open_model(context, model, task_of(project.task), row)
    assert isinstance(trained, TrainedModel)  # noqa: S101 - the task says so
    classes: list[str] | None = model.classes
    while classes is not None:  # renamed while the file was made
        made = to_onnx(trained, classes, name=f"{project.id}-{model.version}")
        classes = _keep(context, model, classes, made)


def _keep(context: JobContext, model: Model, classes: list[str], made: bytes) -> list[str] | None:
    """Keep the file of a model with these names; the names that it has instead, if they are others by now."""
    with context.fenced():
        pass  # a job that was cancelled leaves nothing behind
    key = onnx_key(model.artifact_key, classes)
    context.objects.put_bytes(key, made)
    with context.fenced() as (session, _):
        projects.lock(session, context.project_id)
        now = models.get_trained(session, context.project_id, model.version).classes
        if now == classes:
            digests.record(session, context.project_id, {key: digests.sha256_of(made)})
            context.finish(session, {"model_version": model.version, "format": "onnx", "bytes": len(made)})
            return None
    context.objects.delete(key)
    return now
