"""What is forgotten when its time is over, so that tables and objects do not grow for ever.

Rows go before the objects that they name, so that who is killed in between leaves objects without a row, which `check`
removes. Every change can be made again, and leaves out what somebody still needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy.orm import Session

from service.actions import arrays, deliveries, digests, idempotency, projects
from service.actions.backups import object_keys, spare_keys
from service.actions.predictions import arrays_of
from service.db.queries import arrays as array_queries
from service.db.queries import retention as queries
from service.db.queries.upkeep import Named
from service.db.tables import Model, Pool
from service.errors import NotFoundError
from service.settings import Settings

KINDS = ("job", "batch", "delivery", "model", "predictions")
"""What is counted: jobs; bodies of batches; deliveries; files of models; uploaded predictions of a version."""

_MODELS_AT_ONCE = 20
_CHUNKS_AT_ONCE = 20

Removed = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long what has served is kept; None: for ever.

    Attributes:
        jobs: After their end; their batches, too.
        deliveries: After their end.
        models: The file of a model, after it served last.
        newest_models: Of a project, whose files are kept longer.
        predictions: Of a client's own model, after it served last.
    """

    jobs: timedelta | None
    deliveries: timedelta | None
    models: timedelta | None
    newest_models: int
    predictions: timedelta | None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the operator wants it; jobs at least as long as an answer that names them can be replayed."""
        jobs = _days(settings.keep_jobs_days)
        return cls(
            jobs=jobs and max(jobs, timedelta(hours=settings.idempotency_hours)),
            deliveries=_days(settings.keep_deliveries_days),
            models=_days(settings.keep_models_days) if settings.keep_models else None,
            newest_models=settings.keep_models,
            predictions=_days(settings.keep_predictions_days),
        )


def _days(number: int) -> timedelta | None:
    return timedelta(days=number) if number else None


def forget_leases(session: Session, *, now: datetime) -> int:
    """Leases that ran out. They count no longer anyway: everybody asks for those that live."""
    return queries.remove_expired_leases(session, now)


def forget_answers(session: Session, *, hours: int, now: datetime) -> int:
    """Answers that can no longer be replayed."""
    return idempotency.forget(session, before=now - timedelta(hours=hours))


def forget_deliveries(session: Session, keep: Keep, *, limit: int, now: datetime) -> Removed:
    """Some of the deliveries that ended long ago."""
    if keep.deliveries is None:
        return {}
    return _counted(session, {"delivery": deliveries.forget(session, before=now - keep.deliveries, limit=limit)})


def forget_jobs(session: Session, keep: Keep, *, limit: int, now: datetime) -> Removed:
    """Some of the jobs that ended long ago; of one whose batch held examples the body of the batch only.

    What batches held stays: models are measured by how their labels were picked, and exports of labels tell it.
    """
    if keep.jobs is None:
        return {}
    found = queries.lock_ended_jobs(session, before=now - keep.jobs, now=now, limit=limit)
    records = [job_id for job_id, size in found if size]
    others = [job_id for job_id, size in found if not size]
    queries.keep_records(session, records, now=now)
    queries.remove_jobs(session, others)
    return _counted(session, {"batch": len(records), "job": len(others)})


def projects_with_old(session: Session, keep: Keep, *, now: datetime) -> Sequence[str]:
    """Projects of which `forget_of_project` may find something."""
    found = set(queries.projects_with_retired_chunks(session))
    if keep.models is not None:
        old = queries.old_files(newest=keep.newest_models, before=now - keep.models)
        found.update(queries.projects_of(session, old))
    if keep.predictions is not None:
        found.update(queries.projects_of(session, queries.old_predictions(before=now - keep.predictions)))
    return list(found)


def forget_of_project(session: Session, project_id: str, keep: Keep, *, now: datetime) -> Removed:
    """Some files of models and uploaded predictions that served long ago, and chunks that nobody reads any more.

    The records of the models stay, and with them their points of the learning curve.
    """
    try:
        _, pool = projects.lock(session, project_id)
    except NotFoundError:
        return {}  # it is being deleted
    found = {
        "model": _forget_files(session, pool, keep, now=now),
        "predictions": _forget_predictions(session, pool, keep, now=now),
    }
    arrays.collect(session, project_id, limit=_CHUNKS_AT_ONCE)
    return _counted(session, found)


def _forget_files(session: Session, pool: Pool, keep: Keep, *, now: datetime) -> int:
    if keep.models is None:
        return 0
    old = queries.old_files(newest=keep.newest_models, before=_unread_since(session, pool, now - keep.models))
    found = _unasked(session, pool, queries.models_of(session, pool.project_id, old, limit=_MODELS_AT_ONCE))
    for model in found:
        named = Named("model", model.project_id, model.artifact_key, model)
        for key in (*object_keys(named), *spare_keys(named)):
            digests.forget(session, key)
        model.artifact_key, model.removed_at = "", now
    session.flush()
    return len(found)


def _forget_predictions(session: Session, pool: Pool, keep: Keep, *, now: datetime) -> int:
    if keep.predictions is None:
        return 0
    old = queries.old_predictions(before=now - keep.predictions)
    found = _unasked(session, pool, queries.models_of(session, pool.project_id, old, limit=_MODELS_AT_ONCE))
    if found:
        pool.chunk_generation += 1
        session.flush()
    for model in found:
        array_queries.retire_arrays(session, pool.project_id, arrays_of(model), generation=pool.chunk_generation)
        model.removed_at = now
    session.flush()
    return len(found)


def _unread_since(session: Session, pool: Pool, moment: datetime) -> datetime:
    """That time, or when the first job that runs was begun: one may read the file of what served then."""
    return min(moment, queries.first_start(session, pool.project_id) or moment)


def _unasked(session: Session, pool: Pool, models: Sequence[Model]) -> list[Model]:
    asked = queries.versions_asked(session, pool.project_id) if models else set()
    return [model for model in models if model.version not in asked]


def _counted(session: Session, removed: Removed) -> Removed:
    for kind, number in sorted(removed.items()):
        if number:
            queries.count(session, kind, number)
    return removed
