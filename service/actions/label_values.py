"""What a label may be in a project, and how it is kept: a class, a list of classes, or a number.

Kept as text: a class by its name, several as a JSON list in the order of the project's classes, a number as JSON.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from service.catalog.names import listed
from service.catalog.tasks import Task, classes_of, task_of
from service.errors import FieldError

LARGEST_NUMBER = 1e30
"""Models compute in single precision, squares included in double."""


class Labels:
    """The labels of one project.

    Args:
        task: The project's `task`.
        textual: Labels come as text, whatever they are, as from CSV: several classes as a JSON list, numbers as digits.
    """

    def __init__(self, task: Mapping[str, Any], *, textual: bool = False) -> None:
        self._task: Task = task_of(task)
        self._classes = classes_of(task)
        self._known = frozenset(self._classes)
        self._textual = textual

    def problem(self, label: object) -> FieldError | None:
        """What is wrong with a label."""
        if self._task == "classification":
            if not isinstance(label, str):
                return FieldError("/label", "wrong_type", "Expected one class, as a string.")
            return None if label in self._known else self._unknown("/label")
        label = self._read(label)
        return self._list_problem(label) if self._task == "multi_label" else _number_problem(label)

    def encode(self, label: object) -> str:
        """The text that a label without a problem is kept as."""
        if self._task == "classification":
            return str(label)
        label = self._read(label)
        if self._task == "multi_label":
            return encode_classes(label if isinstance(label, list) else (), self._classes)
        return orjson.dumps(float(str(label))).decode()

    def _read(self, label: object) -> object:
        """A label that came as text, as what it stands for."""
        if not (self._textual and isinstance(label, str)):
            return label
        try:
            read: object = orjson.loads(label)
        except orjson.JSONDecodeError:
            return label
        return read

    def _list_problem(self, label: object) -> FieldError | None:
        if not isinstance(label, list):
            return FieldError("/label", "wrong_type", "Expected a list of classes; an empty one says: none of them.")
        for i, name in enumerate(label):
            if not isinstance(name, str):
                return FieldError(f"/label/{i}", "wrong_type", "Expected a class, as a string.")
            if name not in self._known:
                return self._unknown(f"/label/{i}")
        if len(set(label)) != len(label):
            return FieldError("/label", "duplicate", "A class stands in the list twice.")
        return None

    def _unknown(self, pointer: str) -> FieldError:
        return FieldError(pointer, "unknown_class", f"Known classes: {listed(self._classes)}.")


def encode_classes(chosen: Collection[str], classes: Collection[str]) -> str:
    """How several classes are kept, whatever order they came in."""
    return orjson.dumps([name for name in classes if name in chosen]).decode()


def decode(task: Task, value: str | None) -> Any:
    """A label as clients see it: a class, a list of classes or a number; None for a skip."""
    if value is None or task == "classification":
        return value
    return orjson.loads(value)


def _number_problem(label: object) -> FieldError | None:
    if isinstance(label, bool) or not isinstance(label, int | float):
        return FieldError("/label", "wrong_type", "Expected a number.")
    if not math.isfinite(label) or abs(label) > LARGEST_NUMBER:
        return FieldError("/label", "out_of_range", f"Expected a number between -{LARGEST_NUMBER:g} and its opposite.")
    return None
