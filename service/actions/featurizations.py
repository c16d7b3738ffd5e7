"""Other features for a project: made in the background, and taken into use once all of them are there.

Until then the project keeps the features that it has. What serves afterwards goes on with those that it was trained on:
a model notes them, and the next training learns from the new ones.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from service.actions import jobs, trainings
from service.db.queries import jobs as job_queries
from service.db.queries import models as model_queries
from service.db.tables import Job, Pool, Project
from service.errors import ConflictError, FieldError, InvalidRequestError
from service.queue.messages import FeaturizationMessage

KIND = "featurization"

_MADE = {"text": ("type", "field"), "tabular": ("type", "fields")}
"""Which sections of features that Gleaner makes are fixed: what examples must have was checked when they came."""


def unfinished(session: Session, project_id: str) -> Job | None:
    """The job that makes other features, unless it has ended; there is one at a time."""
    return job_queries.find_unfinished(session, project_id, kind=KIND)


def request(session: Session, project: Project, features: dict[str, Any], *, now: datetime, share: int) -> Job | None:
    """Begin to make other features, whose pool is locked; nothing for those that the project has.

    Raises:
        ConflictError: others are being made.
        InvalidRequestError: they are read from something else than the project's.
    """
    _check(project.features, features)
    under_way = unfinished(session, project.id)
    if under_way is not None:
        raise ConflictError(f"The job {under_way.id} makes other features. Cancel it, or wait for its end.")
    if features == project.features:
        return None
    message = FeaturizationMessage(features=features)
    return jobs.enqueue(session, project_id=project.id, kind=KIND, message=message, now=now, share=share)


def _check(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse another type, and another field."""
    fixed = _MADE.get(old["type"], tuple(old))
    for name in fixed:
        if new.get(name) != old.get(name):
            detail = "Only how features are made can be changed, not what they are read from: make another project."
            bad = FieldError(f"/features/{name}", "immutable", detail)
            raise InvalidRequestError(f"/features/{name}: {detail}", errors=[bad])


def switch(
    session: Session, project: Project, pool: Pool, features: dict[str, Any], *, now: datetime, share: int
) -> None:
    """Give the project other features, and have the next model trained on them. The pool is locked."""
    for model in model_queries.curve(session, project.id):
        noted = model.estimator.get("features", {})
        if model.name is None and "definition" not in noted:  # a model of a release that did not note it
            model.estimator = {**model.estimator, "features": {**noted, "definition": project.features}}
    project.features = features
    project.version, project.updated_at = project.version + 1, now
    session.flush()
    trainings.features_changed(session, project, pool, now=now, share=share)
