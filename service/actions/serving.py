"""Which version of a project's models serves: the newest trained one, or what was activated."""

from datetime import datetime

from sqlalchemy.orm import Session

from service.actions import models, projects, trainings
from service.actions.predictions import array_name, members_name
from service.db.queries import arrays
from service.db.tables import Model, Pool


def serve(session: Session, pool: Pool, version: int) -> None:
    """Make a version the serving one; what can be made again of others leaves the chunk list. The pool is locked."""
    pool.model_version = version
    pool.chunk_generation += 1
    session.flush()
    kept = [array_name(version), members_name(version)]
    arrays.retire_predictions(session, pool.project_id, but=kept, generation=pool.chunk_generation)


def activate(
    session: Session, project_id: str, version: int, *, pin: bool, now: datetime, share: int
) -> tuple[Model, Pool]:
    """Let a version serve, and take no more predictions.

    Args:
        session: In a transaction that writes.
        project_id: Whose model.
        version: Any version, also one that served before.
        pin: Whether it goes on serving when a later training ends. While a client's own model is pinned, trainings
            begin only when they are asked for.
        now: The time.
        share: How many jobs of a project may be rung.
    """
    project, pool = projects.lock(session, project_id)
    model = models.get(session, project_id, version)
    model.open = False
    pool.pin = models.kind_of(model) if pin else None
    serve(session, pool, version)
    if pool.label_generation > pool.trained_generation:
        trainings.after_labels(session, project, pool, now=now, share=share)
    return model, pool
