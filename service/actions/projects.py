"""Projects: create, read, change, delete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from service.actions import candidates, classes, featurizations, goals, jobs, strategies, trainings
from service.catalog.estimators import ESTIMATORS
from service.catalog.names import listed
from service.catalog.sources import learns_from
from service.catalog.tasks import begins, classes_of, task_of
from service.db.queries import annotators
from service.db.queries import projects as queries
from service.db.tables import Job, Pool, Project
from service.db.types import new_id
from service.errors import ConflictError, FieldError, InvalidRequestError, NotFoundError, PreconditionFailedError
from service.queue.messages import DeletionMessage


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A project with its counters, and the id of the job that makes other features for it."""

    project: Project
    pool: Pool
    leased: int
    featurization: str | None


def create(session: Session, config: dict[str, Any], *, now: datetime) -> ProjectView:
    """A new project from a complete, validated configuration."""
    project = Project(id=new_id("prj"), state="active", version=1, created_at=now, updated_at=now, **config)
    _check_estimator(project)
    _check_truth(project)
    _check_gold(project)
    goals.check(project)
    _check_query(project, pointer="/query/strategy")
    session.add(project)
    session.flush()
    session.add(Pool(project_id=project.id))
    session.flush()
    return view(session, project, now=now)


def get(session: Session, project_id: str, *, anew: bool = False) -> Project:
    """An active project; read `anew` if the transaction has read it before."""
    project = queries.get(session, project_id, anew=anew)
    if project is None or project.state != "active":
        raise NotFoundError("There is no such project.")
    return project


def truth_of(project: Project) -> str:
    """How several answers to one example become one, for models to learn; a project of the first release is silent."""
    truth: str = project.annotation.get("truth", "majority")
    return truth


def gold_share_of(project: Project) -> float:
    """Which share of a person's examples are gold questions."""
    share: float = project.annotation.get("gold_share", 0.0)
    return share


def lock(session: Session, project_id: str) -> tuple[Project, Pool]:
    """An active project as it is behind the lock of its pool, and the pool: what changes the pool begins with this."""
    try:
        pool = queries.lock_pool(session, project_id)
    except NoResultFound as error:
        raise NotFoundError("There is no such project.") from error
    return get(session, project_id, anew=True), pool


def lock_as_read(session: Session, project: Project) -> tuple[Project, Pool]:
    """As `lock`, of a project for which labels were checked before.

    Raises:
        ConflictError: classes were renamed or merged meanwhile.
    """
    now, pool = lock(session, project.id)
    if not classes.are_kept(now, project):
        raise ConflictError("The classes of the project were changed meanwhile. Send the request again.")
    return now, pool


def view(session: Session, project: Project, *, now: datetime) -> ProjectView:
    """The project with its counters."""
    making = featurizations.unfinished(session, project.id)
    return ProjectView(
        project,
        queries.pool(session, project.id),
        queries.leased(session, project.id, now),
        making.id if making is not None else None,
    )


def page(session: Session, *, only: str | None, after: str | None, size: int, now: datetime) -> Sequence[ProjectView]:
    """Active projects in order of creation."""
    return [view(session, project, now=now) for project in queries.page(session, only=only, after=after, size=size)]


def change(
    session: Session, project_id: str, changes: dict[str, Any], *, version: int | None, now: datetime, share: int
) -> ProjectView:
    """Change the given sections of a project; classes can be added, renamed and merged, and features made anew."""
    features = changes.pop("features", None)
    renamed, merged = changes.pop("rename_classes", {}), changes.pop("merge_classes", {})
    project, pool = lock(session, project_id)
    if version is not None and version != project.version:
        raise PreconditionFailedError("The project was changed since that version was read.")
    task = changes.get("task")
    if task is not None:
        _check_task(project.task, task, alone=not (renamed or merged))
    if features is not None:
        featurizations.request(session, project, features, now=now, share=share)
    overlap, truth = project.annotation["overlap"], truth_of(project)
    learn_from = learns_from(project.retraining)
    project.version, project.updated_at = project.version + 1, now
    for section, value in changes.items():
        setattr(project, section, value)
    classes.change(session, project, pool, renamed=renamed, merged=merged, now=now, share=share)
    project.query = changes.get("query", project.query)  # a new one names classes as they are called from now on
    _check_estimator(project)
    _check_truth(project)
    _check_gold(project)
    goals.check(project)
    if {"query", "estimator"} & changes.keys() or renamed or merged:
        _check_query(project, pointer="/query/strategy" if "query" in changes else "/estimator/params/committee")
    session.flush()
    if learns_from(project.retraining) != learn_from:
        trainings.truth_changed(session, project, now=now, share=share)
    if project.annotation["overlap"] != overlap:
        candidates.reconsider(session, pool, before=overlap, overlap=project.annotation["overlap"])
    if truth_of(project) != truth:
        trainings.truth_changed(session, project, now=now, share=share)
    _begin_again(session, project, pool, changes, now=now, share=share)
    return view(session, project, now=now)


def _begin_again(
    session: Session, project: Project, pool: Pool, changes: Mapping[str, Any], *, now: datetime, share: int
) -> None:
    """Let what waits for changes like these begin, or see that nothing does."""
    if "paused" in changes:
        _pause(session, project, pool, now=now, share=share)
    if "retraining" in changes:
        trainings.policy_changed(session, project, now=now, share=share)
    if {"annotation", "paused"} & changes.keys() and project.annotation.get("automatic"):
        annotators.wake(session, project.id, now)


def _pause(session: Session, project: Project, pool: Pool, *, now: datetime, share: int) -> None:
    """See that nothing begins in a paused project, or that it goes on. A query that runs is refused its batch."""
    trainings.paused(session, project, pool, now=now, share=share)
    if project.paused:
        jobs.cancel_waiting(session, project.id, kinds=("query",), now=now)


def _check_estimator(project: Project) -> None:
    """Refuse an estimator that does not serve the task."""
    name, task = project.estimator["name"], task_of(project.task)
    if task not in ESTIMATORS[name].tasks:
        others = listed(sorted(name for name, entry in ESTIMATORS.items() if task in entry.tasks))
        detail = f"`{name}` does not serve {task}. Choose one of: {others}."
        bad = FieldError("/estimator/name", "wrong_task", detail)
        raise InvalidRequestError(f"The estimator does not suit the task. {detail}", errors=[bad])


def _check_truth(project: Project) -> None:
    """Refuse to weigh annotators by confusions of classes where a label is no class."""
    if truth_of(project) != "majority" and task_of(project.task) != "classification":
        detail = "Annotators are weighed in classification with one class an example. Leave `majority`."
        bad = FieldError("/annotation/truth", "wrong_task", detail)
        raise InvalidRequestError(f"The truth does not suit the task. {detail}", errors=[bad])


def _check_gold(project: Project) -> None:
    """Refuse gold questions where an answer is seldom exactly right."""
    if gold_share_of(project) and task_of(project.task) == "regression":
        detail = "Gold questions are asked of classes: a number is seldom exactly right."
        bad = FieldError("/annotation/gold_share", "wrong_task", detail)
        raise InvalidRequestError(f"Gold questions do not suit the task. {detail}", errors=[bad])


def _check_query(project: Project, *, pointer: str) -> None:
    """Refuse a default strategy that the project's own sections do not suit."""
    entry = strategies.suitable(project, project.query["strategy"], pointer=pointer)
    strategies.resolved(project, entry, project.query["params"], pointer="/query/params")


def _check_task(old: dict[str, Any], new: dict[str, Any], *, alone: bool) -> None:
    if not alone:
        bad = FieldError("/task", "two_changes", "Add classes by a request of its own.")
        raise InvalidRequestError("Classes are added, or renamed and merged.", errors=[bad])
    if {**old, "classes": None} != {**new, "classes": None}:
        raise InvalidRequestError(
            "The task of a project is fixed.", errors=[FieldError("/task", "immutable", "Only classes can be added.")]
        )
    if not begins(classes_of(new), classes_of(old)):
        detail = "List the present classes first, in their order, then the new ones."
        raise InvalidRequestError(
            "Classes can only be added.", errors=[FieldError("/task/classes", "classes_removed", detail)]
        )


def delete(session: Session, project_id: str, *, now: datetime, share: int) -> Job:
    """Close the project at once, cancel its jobs, and remove everything of it by a job."""
    project, _ = lock(session, project_id)
    project.state = "deleting"
    session.flush()
    job = jobs.enqueue(session, project_id=project_id, kind="deletion", message=DeletionMessage(), now=now, share=share)
    jobs.cancel_all(session, project_id, but=job.id, now=now)
    return job
