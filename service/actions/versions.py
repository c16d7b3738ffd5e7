"""The switch to another version of a project's models."""

from datetime import datetime

from sqlalchemy.orm import Session

from service.actions.predictions import array_name, members_name
from service.db.queries import arrays, models
from service.db.tables import Pool


def serve(session: Session, pool: Pool, version: int, *, now: datetime) -> None:
    """Make a version the serving one; what can be made again of others leaves the chunk list. The pool is locked."""
    before = models.get(session, pool.project_id, pool.model_version)
    if before is not None and before.version != version:
        before.superseded_at = now
    pool.model_version = version
    pool.chunk_generation += 1
    session.flush()
    kept = [array_name(version), members_name(version)]
    arrays.retire_predictions(session, pool.project_id, but=kept, generation=pool.chunk_generation)
