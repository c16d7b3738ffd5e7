"""Models that leave the service: which forms there are of one, and the job that makes one."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service.actions import jobs, projects
from service.catalog.estimators import ESTIMATORS
from service.catalog.tasks import task_of
from service.db.queries import jobs as queries
from service.db.tables import Job, Model, Project
from service.errors import FieldError, JobNotSucceededError, NotFoundError, UnsupportedFeatureError
from service.queue.messages import ExportMessage

KIND = "export"
# A failure is told for so long, so that whoever asks again and again starts no work; then it is tried anew.
_TOLD = timedelta(minutes=1)


def estimator_of(model: Model) -> str:
    """What was trained, also where `auto` chose it."""
    name: str = model.estimator.get("chosen", {}).get("estimator", model.estimator["name"])
    return name


def why_no_onnx(project: Project, model: Model) -> str | None:
    """Why a model that was trained here cannot be had in ONNX; None: it can."""
    if project.features["type"] != "vector":
        return f"ONNX is for models of vectors; features of the type {project.features['type']} have no form in it."
    if (task := task_of(project.task)) != "classification":
        return f"ONNX is for models that say one class an example; this project's task is {task}."
    entry = ESTIMATORS.get(estimator_of(model))
    if entry is None or not entry.onnx:
        can = ", ".join(name for name, other in ESTIMATORS.items() if other.onnx)
        return f"Models of {estimator_of(model)} cannot be had in ONNX; those of {can} can."
    return None


def check_onnx(project: Project, model: Model) -> None:
    """See that a model that was trained here can be had in ONNX.

    Raises:
        UnsupportedFeatureError: it cannot.
    """
    reason = why_no_onnx(project, model)
    if reason is not None:
        raise _unsupported(reason)


def has_encoder(model: Model) -> bool:
    """Whether something was fitted to the pool to make the rows that the model sees, and is kept beside it."""
    return "fields" in model.estimator.get("features", {})


def check_encoder(model: Model) -> None:
    """See that a model that was trained here has an encoder.

    Raises:
        NotFoundError: nothing was fitted to make its rows.
    """
    if not has_encoder(model):
        raise NotFoundError("Only models of tables have an encoder; the card tells how the rows of others are made.")


def ask(session: Session, project: Project, model: Model, *, now: datetime, share: int, room: jobs.Room) -> Job:
    """The job that makes the model's ONNX file: the one that is under way or has just failed, else a new one.

    Of those who ask at the same time one makes it: the pool is locked.
    """
    projects.lock(session, project.id)
    message = ExportMessage(version=model.version)
    found = queries.newest_of(session, project.id, kind=KIND, payload=message.model_dump(mode="json"))
    if found is not None and _answers(found, now):
        return found
    return jobs.enqueue(session, project_id=project.id, kind=KIND, message=message, now=now, share=share, room=room)


def _answers(job: Job, now: datetime) -> bool:
    if job.finished_at is None:
        return True
    return job.state == "failed" and now - job.finished_at < _TOLD


def check_ended(job: Job) -> None:
    """See that a job did not end without a file.

    Raises:
        UnsupportedFeatureError: the workers cannot convert.
        JobNotSucceededError: it failed otherwise, or was cancelled.
    """
    if job.state not in {"failed", "cancelled"}:
        return
    error = job.error or {"name": "", "detail": "It was cancelled."}
    if error["name"] == UnsupportedFeatureError.name:
        raise _unsupported(error["detail"])
    raise JobNotSucceededError(f"The model was not converted. {error['detail']}")


def _unsupported(detail: str) -> UnsupportedFeatureError:
    return UnsupportedFeatureError(detail, errors=[FieldError("/query/format", "unsupported", detail)])
