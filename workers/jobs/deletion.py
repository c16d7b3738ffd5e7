"""Deletion: everything of a project goes, its files first."""

from service.db.queries import jobs, projects
from service.storage.artifacts import inputs_prefix, models_prefix
from service.storage.chunks import project_prefix
from workers.jobs.context import JobContext


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
    context.progress.tell(len(prefixes), len(prefixes), "deleting rows")
    with context.fenced() as (session, job):
        jobs.remove_all(session, project_id, but=job.id)
        projects.remove(session, project_id)
        context.finish(session, {"deleted": project_id})
