"""Which version of a project's models serves: the newest trained one, or what was activated."""

from datetime import datetime

from sqlalchemy.orm import Session

from service.actions import jobs, models, projects, trainings
from service.actions.versions import serve
from service.catalog.names import listed
from service.catalog.tasks import classes_of
from service.db.tables import Model, Pool
from service.errors import ConflictError
from service.queue.messages import MeasuringMessage


def activate(
    session: Session, project_id: str, version: int, *, pin: bool, now: datetime, share: int
) -> tuple[Model, Pool]:
    """Let a version serve, and take no more predictions; one of the client's own is measured then.

    Args:
        session: In a transaction that writes.
        project_id: Whose model.
        version: Any version, also one that served before.
        pin: Whether it goes on serving when a later training ends. While a client's own model is pinned, trainings
            begin only when they are asked for.
        now: The time.
        share: How many jobs of a project may be rung.

    Raises:
        ConflictError: A class of the model was merged since.
        RemovedError: Its file, or what was uploaded of it, is gone.
    """
    project, pool = projects.lock(session, project_id)
    model = models.get(session, project_id, version)
    models.check_kept(model)
    if not models.fits(project, model):
        gone = [name for name in model.classes if name not in classes_of(project.task)]
        told = f" The project has no more: {listed(gone)}." if gone else ""
        raise ConflictError(f"The model has classes that were merged since: it cannot serve.{told} Train a new one.")
    if model.open:
        message = MeasuringMessage(version=version)
        jobs.enqueue(session, project_id=project_id, kind="measuring", message=message, now=now, share=share)
    model.open = False
    pool.pin = models.kind_of(model) if pin else None
    serve(session, pool, version, now=now)
    if pool.label_generation > pool.trained_generation:
        trainings.after_labels(session, project, pool, now=now, share=share)
    return model, pool
