"""The kinds of task: what a label is, and what a model says of an example."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Task = Literal["classification", "multi_label", "regression"]
"""One class an example, any number of classes an example, or a number."""

EVERY_TASK: tuple[Task, ...] = ("classification", "multi_label", "regression")

NUMBER_COLUMNS = ("mean", "spread")
"""What a regression model says of an example: its figure, and how far the truth may lie from it (one deviation)."""


def task_of(task: Mapping[str, Any]) -> Task:
    """The kind of a project's `task`."""
    if task["type"] == "regression":
        return "regression"
    return "multi_label" if task.get("multi_label") else "classification"


def classes_of(task: Mapping[str, Any]) -> list[str]:
    """The classes of a project's `task`; none for numbers."""
    return list(task.get("classes") or ())


def columns_of(task: Task, classes: Sequence[str]) -> int:
    """How many numbers a model of these classes gives for an example."""
    return len(NUMBER_COLUMNS) if task == "regression" else len(classes)


def begins(classes: Sequence[str], first: Sequence[str]) -> bool:
    """Whether what has the `first` classes fits a project of these: classes are added behind."""
    return list(classes[: len(first)]) == list(first)
