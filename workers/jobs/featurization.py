"""Other features for a project, made beside those that it has until all are there."""

from typing import Any

from sqlalchemy.orm import Session

from service.actions import featurizations, projects
from service.db.queries import projects as project_queries
from service.queue.messages import FeaturizationMessage
from workers.jobs.context import JobContext
from workers.jobs.features import fill_features
from workers.jobs.pool import Layout, layout, pin_then_read, seen_by

_ROUNDS = 10


def run(context: JobContext) -> None:
    """Make them, then those of rows that came meanwhile, then have the project take them into use.

    Where rows come faster, the last ones are made by whichever job needs them first, as always.
    """
    message = context.claim.message
    assert isinstance(message, FeaturizationMessage)  # noqa: S101 - the kind of the job says so
    for rounds_left in reversed(range(_ROUNDS)):
        found = pin_then_read(context, lambda session: _read(session, context, message.features))
        fill_features(context, found)
        if _switch(context, found, always=not rounds_left):
            return


def _read(session: Session, context: JobContext, features: dict[str, Any]) -> Layout:
    project = projects.get(session, context.project_id)
    pool = project_queries.pool(session, project.id)
    return layout(session, context, pool, seen_by(session, context, pool, features))


def _switch(context: JobContext, found: Layout, *, always: bool) -> bool:
    with context.fenced() as (session, _):
        project, pool = projects.lock(session, context.project_id)
        if pool.next_row > found.rows and not always:
            return False
        featurizations.switch(session, project, pool, found.features, now=context.now(), share=context.share)
        context.finish(session, {"features": found.features, "array": found.array, "rows": found.rows})
    return True
