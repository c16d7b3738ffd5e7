"""What the cells of a CSV column are: nothing in the form says it, so the whole column does."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from service.codecs.rows import INT64

ColumnType = Literal["integer", "number", "boolean", "text"]

# as JSON writes them: what is written otherwise (007, +1, 1.) would not come back as it was
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

READ: Mapping[ColumnType, Callable[[str], Any]] = {
    "integer": int,
    "number": float,
    "boolean": _BOOLEANS.__getitem__,
    "text": str,
}
"""From a cell to its value, when its column is of the type."""


def is_of(kind: ColumnType, cell: str) -> bool:
    """Whether a cell can be read as a type."""
    if kind == "integer":
        return _INTEGER.fullmatch(cell) is not None and -INT64 <= int(cell) < INT64
    if kind == "number":
        return _NUMBER.fullmatch(cell) is not None and math.isfinite(float(cell))
    return cell in _BOOLEANS if kind == "boolean" else True


class Inference:
    """The narrowest type of each of some columns; empty cells say nothing."""

    def __init__(self, names: Iterable[str]) -> None:
        self._kinds: dict[str, ColumnType | None] = dict.fromkeys(names)

    def add(self, cells: Iterable[tuple[str, str]]) -> None:
        """Look at cells that are not empty, by the name of their column."""
        for name, cell in cells:
            kind = self._kinds[name]
            if kind == "text" or (kind is not None and is_of(kind, cell)):
                continue
            self._kinds[name] = _widened(kind, cell)

    @property
    def types(self) -> dict[str, ColumnType]:
        """The types; a column of empty cells alone is text."""
        return {name: kind or "text" for name, kind in self._kinds.items()}


def _widened(kind: ColumnType | None, cell: str) -> ColumnType:
    """The type of a column that was of a type (None: empty), now that it has a cell which is not."""
    if kind is None:
        narrow: tuple[ColumnType, ...] = ("integer", "number", "boolean")
        return next((one for one in narrow if is_of(one, cell)), "text")
    return "number" if kind == "integer" and is_of("number", cell) else "text"
