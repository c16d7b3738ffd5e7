"""Queries: asking for a batch."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from service.actions import jobs, strategies
from service.actions.fields import check_filter
from service.catalog.names import listed
from service.catalog.strategies import STRATEGIES
from service.catalog.tasks import task_of
from service.db.queries import models
from service.db.queries.projects import pool
from service.db.tables import Job, Model, Project
from service.errors import FieldError, InvalidRequestError, ProjectPausedError
from service.queue.messages import Preselection, QueryMessage

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a client asked for; none: the project's default."""

    k: int
    strategy: str | None
    params: dict[str, Any] | None
    annotator: str | None
    lease_seconds: int | None
    seed: int | None
    filter: dict[str, Any] | None
    candidates: dict[str, Any] | None
    explore: float
    class_balanced: bool
    include_data: bool


def ask(
    session: Session,
    project: Project,
    wish: Wish,
    *,
    most: int,
    now: datetime,
    share: int,
    room: jobs.Room | None,
    prepared: bool = False,
    program: bool = False,
) -> Job:
    """Queue a query; every name and parameter is checked before.

    One that is `prepared` ranks what is leased, too. A `program` is given nothing that it has answered or left out.
    """
    if project.paused:
        raise ProjectPausedError
    if wish.k > most:
        raise InvalidRequestError(
            f"k is at most {most}.", errors=[FieldError("/k", "less_than_equal", f"At most {most}.")]
        )
    if wish.filter:
        check_filter(pool(session, project.id), wish.filter)
    if wish.class_balanced and task_of(project.task) != "classification":
        detail = "Only where an example has one class can a batch be balanced by class."
        bad = FieldError("/class_balanced", "wrong_task", detail)
        raise InvalidRequestError(f"/class_balanced: {detail}", errors=[bad])
    serving = models.get(session, project.id, pool(session, project.id).model_version)
    message = QueryMessage(
        k=wish.k,
        **_strategy(project, wish, serving),
        annotator=wish.annotator,
        lease_seconds=_default(wish.lease_seconds, project.annotation["lease_seconds"]),
        seed=_default(wish.seed, project.seed),
        filter=wish.filter,
        candidates=_preselection(project, wish.candidates, serving),
        explore=wish.explore,
        class_balanced=wish.class_balanced,
        include_data=wish.include_data,
        prepared=prepared,
        program=program,
    )
    return jobs.enqueue(session, project_id=project.id, kind="query", message=message, now=now, share=share, room=room)


def _strategy(project: Project, wish: Wish, serving: Model | None) -> dict[str, Any]:
    name = _default(wish.strategy, project.query["strategy"])
    entry = strategies.suitable(project, name, pointer="/strategy", serving=serving)
    params = wish.params
    if params is None:
        params = project.query["params"] if name == project.query["strategy"] else {}
    return {"strategy": name, "params": strategies.resolved(project, entry, params)}


def _preselection(project: Project, candidates: dict[str, Any] | None, serving: Model | None) -> Preselection | None:
    if candidates is None:
        return None
    entry = strategies.suitable(project, candidates["strategy"], pointer="/candidates/strategy", serving=serving)
    if entry.kind != "scorer":
        detail = f"Candidates are narrowed by a strategy that scores each example: {listed(_scorers())}."
        raise InvalidRequestError(detail, errors=[FieldError("/candidates/strategy", "not_a_scorer", detail)])
    params = strategies.resolved(project, entry, candidates.get("params") or {}, pointer="/candidates/params")
    return Preselection(strategy=entry.name, params=params, count=candidates["count"])


def _scorers() -> list[str]:
    return sorted(name for name, entry in STRATEGIES.items() if entry.kind == "scorer")


def _default(value: T | None, default: T) -> T:
    return default if value is None else value
