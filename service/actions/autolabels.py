"""Self-labelling: a model labels what it is sure enough of, as a group that can be revoked."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import NormalDist
from typing import Any

from sqlalchemy.orm import Session

from service.actions import jobs, projects, trainings
from service.actions.jobs import Room
from service.actions.recording import Recorder
from service.catalog.tasks import task_of
from service.db.queries import autolabels as queries
from service.db.queries import examples as example_queries
from service.db.queries import jobs as job_queries
from service.db.tables import Autolabel, Job, Pool, Project
from service.db.types import new_id
from service.errors import ConflictError, NotFoundError, ProjectPausedError
from service.queue.messages import AutolabelMessage, RevocationMessage

_NOTHING_DONE = {
    "refused": "the group was refused, and has no labels. Its `refusal` says why.",
    "tried": "the group was a dry run, and has no labels.",
}


@dataclass(frozen=True, slots=True)
class Share:
    """A share of `n` examples with its interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class AutolabelView:
    """A group, whether its job came to an end, and what people say of its audit share."""

    group: Autolabel
    state: str
    audited: Share | None


def ask(session: Session, project_id: str, wish: dict[str, Any], *, now: datetime, share: int, room: Room) -> Job:
    """Queue a self-labelling.

    Raises:
        ConflictError: labels of the project are not one class each, no model serves, or another self-labelling has not
            ended.
        ProjectPausedError: the project is.
    """
    project, pool = projects.lock(session, project_id)
    if project.paused:
        raise ProjectPausedError
    if task_of(project.task) != "classification":
        raise ConflictError("Models label by themselves only in projects where an example has one class.")
    if not pool.model_version:
        raise ConflictError("There is no model yet that could label. Train one, or activate a version of your own.")
    newest = next(iter(queries.page(session, project.id, before=None, size=1)), None)
    if newest is not None and _job_state(session, newest.job_id) in job_queries.UNFINISHED:
        raise ConflictError(f"Another self-labelling has not ended: see /v1/jobs/{newest.job_id}.")
    group = Autolabel(id=new_id("aut"), project_id=project.id, state="queued", labels=0, created_at=now, **wish)
    message = AutolabelMessage(autolabel_id=group.id)
    job = jobs.enqueue(
        session, project_id=project.id, kind="autolabel", message=message, now=now, share=share, room=room
    )
    group.job_id = job.id
    session.add(group)
    session.flush()
    return job


def _job_state(session: Session, job_id: str) -> str:
    job = job_queries.get(session, job_id)
    return "failed" if job is None else job.state


def get(session: Session, project_id: str, autolabel_id: str) -> AutolabelView:
    """A group of the project."""
    return _view(session, _found(session, projects.get(session, project_id).id, autolabel_id))


def page(session: Session, project_id: str, *, before: str | None, size: int) -> list[AutolabelView]:
    """The groups of the project, the newest first."""
    project = projects.get(session, project_id)
    return [_view(session, group) for group in queries.page(session, project.id, before=before, size=size)]


def _found(session: Session, project_id: str, autolabel_id: str) -> Autolabel:
    group = queries.get(session, autolabel_id)
    if group is None or group.project_id != project_id:
        raise NotFoundError("There is no such group of labels.")
    return group


def _view(session: Session, group: Autolabel) -> AutolabelView:
    state = group.state
    if state in {"queued", "labelling"}:
        told = _job_state(session, group.job_id)
        state = told if told in {"failed", "cancelled"} else state
    return AutolabelView(group, state, audited(session, group))


def audited(session: Session, group: Autolabel) -> Share | None:
    """How often people say what the model says of the examples that were drawn for them; none before anybody has."""
    said: dict[str, list[str]] = {}
    ours: dict[str, str] = {}
    for example_id, value, answer in queries.audit_answers(session, group.id):
        said.setdefault(example_id, []).append(answer or "")
        ours[example_id] = value
    if not said:
        return None
    right = sum(_most_said(answers) == ours[example_id] for example_id, answers in said.items())
    return wilson(right, len(said), level=group.confidence_level)


def _most_said(answers: Sequence[str]) -> str:
    """The most frequent answer; of several the one that was said last."""
    counts = {answer: answers.count(answer) for answer in answers}
    most = max(counts.values())
    return next(answer for answer in reversed(answers) if counts[answer] == most)


def wilson(right: int, n: int, *, level: float) -> Share:
    """A share with its score interval (Wilson 1927)."""
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    value = right / n
    centre = (value + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (value * (1 - value) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return Share(value, max(0.0, min(centre - half, value)), min(1.0, max(centre + half, value)), n)


def revoke(session: Session, project_id: str, autolabel_id: str, *, now: datetime, share: int) -> Job:
    """Take all labels of a group back, by a job; what labels it still is stopped. Nothing of people's is touched.

    Raises:
        ConflictError: it was revoked before, or nothing was labelled.
    """
    project, _ = projects.lock(session, project_id)
    group = _found(session, project.id, autolabel_id)
    if group.state == "revoked":
        raise ConflictError("The labels of this group were taken back before.")
    if group.state in _NOTHING_DONE:
        raise ConflictError(f"There is nothing to take back: {_NOTHING_DONE[group.state]}")
    if group.state == "revoking" and group.revocation_job_id is not None:
        known = job_queries.get(session, group.revocation_job_id)
        if known is not None and known.state in job_queries.UNFINISHED:
            return known
    running = job_queries.get(session, group.job_id)
    if running is not None and running.state in job_queries.UNFINISHED:
        trainings.cancel(session, running, now=now, share=share)
    message = RevocationMessage(autolabel_id=group.id)
    job = jobs.enqueue(session, project_id=project.id, kind="revocation", message=message, now=now, share=share)
    group.state, group.revocation_job_id = "revoking", job.id
    session.flush()
    return job


def forget_some(
    session: Session, project: Project, pool: Pool, autolabel_id: str, *, limit: int, now: datetime, share: int
) -> int:
    """Remove some labels of a group; how many. The pool is locked."""
    found = queries.labels(session, project.id, autolabel_id, limit=limit)
    known = example_queries.find(session, project.id, [label.example_id for label in found])
    generation = pool.label_generation
    recorder = Recorder(session, project, pool, now=now)
    recorder.forget(found, known)
    recorder.finish()
    session.flush()
    if pool.label_generation != generation:
        trainings.after_labels(session, project, pool, now=now, share=share)
    return len(found)
