"""When labelling may stop: what a project wants to reach, and what its newest model says of that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.catalog.names import listed
from service.catalog.stopping_rules import TARGETS
from service.catalog.tasks import classes_of, task_of
from service.db.tables import Model, Project
from service.errors import FieldError, InvalidRequestError


def goal_of(project: Project) -> dict[str, Any]:
    """What the project wants to reach; empty where it did not tell."""
    return project.goal or {}


def check(project: Project) -> None:
    """Refuse a goal that does not suit the task."""
    goal, task = goal_of(project), task_of(project.task)
    if "metric" in goal and goal["metric"] not in TARGETS[task]:
        _refuse("/goal/metric", "wrong_task", f"Of this task it is one of: {listed(TARGETS[task])}.")
    if "find" in goal and goal["find"] not in classes_of(project.task):
        _refuse("/goal/find", "unknown_class", f"Name a class of the project: {listed(classes_of(project.task))}.")


def _refuse(pointer: str, code: str, detail: str) -> None:
    raise InvalidRequestError(f"{pointer}: {detail}", errors=[FieldError(pointer, code, detail)])


def renamed(project: Project, names: Mapping[str, str]) -> None:
    """Let the goal go on with a class that has another name."""
    goal = goal_of(project)
    if goal.get("find") in names:
        project.goal = {**goal, "find": names[goal["find"]]}


@dataclass(frozen=True, slots=True)
class Outlook:
    """How far the goal is.

    Attributes:
        goal: of the project.
        model_version: the model after whose training it was estimated; none: not yet, for this goal.
        estimates: `recall`, `labels_left` and `rules`, as the training left them; empty without a version.
    """

    goal: dict[str, Any]
    model_version: int | None
    estimates: dict[str, Any]


def outlook(project: Project, models: Sequence[Model]) -> Outlook:
    """What the newest of the models that were trained here says of the goal, if it was trained under it."""
    goal = goal_of(project)
    newest = next((model for model in reversed(models) if model.name is None), None)
    if newest is None or not goal or (newest.estimates or {}).get("goal") != goal:
        return Outlook(goal, None, {})
    return Outlook(goal, newest.version, newest.estimates or {})
