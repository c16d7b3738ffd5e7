"""Deletion: everything of a project goes, its files first."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from service.db.queries import jobs, projects, webhooks
from service.db.tables import Job
from service.storage.artifacts import inputs_prefix, models_prefix
from service.storage.chunks import project_prefix
from workers.jobs.context import JobContext

_SLICE = 5_000


def run(context: JobContext) -> None:
    """Delete the files, then the rows. A crash in between is repeated from the start."""
    project_id = context.project_id
    prefixes = [
        project_prefix(project_id),
        models_prefix(project_id),
        inputs_prefix(project_id),
        f"candidates/{project_id}/",
        f"errors/{project_id}/",
    ]
    for done, prefix in enumerate(prefixes):
        context.progress.tell(done, len(prefixes), "deleting files")
        context.objects.delete_prefix(prefix)
    _delete_slices(context)
    with _locked(context) as (session, job):
        jobs.remove_all(session, project_id, but=job.id)
        context.finish(session, {"deleted": project_id})
        webhooks.lock_all(session, project_id)
        projects.remove(session, project_id)


@contextmanager
def _locked(context: JobContext) -> Iterator[tuple[Session, Job]]:
    """A fenced transaction under the lock of the pool: an upload that was under way may be taking its rows back."""
    with context.fenced() as (session, job):
        projects.lock_pool(session, context.project_id)
        yield session, job


def _delete_slices(context: JobContext) -> None:
    """What there can be millions of goes in short transactions, so that other writers get their turn."""
    with context.read() as session:
        rows = projects.pool(session, context.project_id).next_row
    for start in range(0, rows, _SLICE):
        context.progress.tell(start, rows, "deleting examples")
        with _locked(context) as (session, _):
            projects.remove_rows(session, context.project_id, start=start, stop=start + _SLICE)
    context.progress.tell(rows, rows, "deleting labels")
    removed = 1
    while removed:
        with _locked(context) as (session, _):
            removed = projects.remove_labels(session, context.project_id, limit=_SLICE)
