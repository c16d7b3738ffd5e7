"""A revocation: the labels of a group of self-labelling go, some at a time, and nothing of people's."""

from service.actions import autolabels, projects
from service.db.queries import autolabels as queries
from service.queue.messages import RevocationMessage
from workers.jobs.context import JobContext

_SLICE = 2_000


def run(context: JobContext) -> None:
    """Remove the labels; a crash in between goes on with those that are left."""
    message = context.claim.message
    assert isinstance(message, RevocationMessage)  # noqa: S101 - the kind of the job says so
    remove(context, message.autolabel_id)
    with context.fenced() as (session, _):
        projects.lock(session, context.project_id)
        group = queries.get(session, message.autolabel_id)
        assert group is not None  # noqa: S101 - it goes with its project only, and then this job does, too
        group.state, group.finished_at = "revoked", context.now()
        session.flush()
        context.finish(session, {"autolabel_id": group.id, "revoked": group.labels})


def remove(context: JobContext, autolabel_id: str) -> None:
    """Remove the labels of a group and the examples that it left to people, in short transactions."""
    done, removed = 0, 1
    while removed:
        with context.fenced() as (session, _):
            project, pool = projects.lock(session, context.project_id)
            removed = autolabels.forget_some(
                session, project, pool, autolabel_id, limit=_SLICE, now=context.now(), share=context.share
            )
        done += removed
        context.progress.tell(done, 0, "taking labels back")
    removed = 1
    while removed:
        with context.fenced() as (session, _):
            projects.lock(session, context.project_id)
            removed = queries.forget_marks(session, autolabel_id, limit=_SLICE)
