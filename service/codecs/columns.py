"""What the columns of a table mean: fields of a row, numbers of its vector, or names in its data."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from service.catalog.names import known_are
from service.codecs.rows import RowKind, name_problem, pointer_to
from service.errors import FieldError, InvalidRequestError

_COMPONENT = re.compile(r"x(0|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table by their use.

    Attributes:
        names: All of them, in order.
        fields: Where each field of the row is.
        components: Where x0, x1, ... are, the numbers of the vector.
        data: Where the fields of `data` are.
    """

    names: Sequence[str]
    fields: dict[str, int]
    components: list[int]
    data: dict[str, int]

    @classmethod
    def of(cls, names: Sequence[str], kind: RowKind[Any], *, components: bool, line: int | None = None) -> Self:
        """Understand the names of columns.

        Args:
            names: The columns, in order.
            kind: What the rows are.
            components: Whether columns x0, x1, ... are the numbers of the vector (else they are data).
            line: Where the names stand, for errors.

        Raises:
            InvalidRequestError: A name is missing, twice there, unknown or no name.
        """
        _refuse(_name_problem(names, kind), line)
        fields: dict[str, int] = {}
        data: dict[str, int] = {}
        known = set(kind.row_type.__struct_fields__) - {"data"}
        for column, name in enumerate(names):
            if name in known:
                fields[name] = column
            elif components and _COMPONENT.fullmatch(name):
                continue
            elif not kind.other_columns:
                detail = f"There is no such column. {known_are(kind.row_type.__struct_fields__)}"
                _refuse(FieldError(pointer_to(name), "unknown_field", detail), line)
            else:
                data[name] = column
        numbered = {int(match[1]): i for i, name in enumerate(names) if (match := _COMPONENT.fullmatch(name))}
        used = numbered if components else {}
        _refuse(_component_problem(used, fields), line)
        return cls(names, fields, [used[i] for i in range(len(used))], data)


def _refuse(problem: FieldError | None, line: int | None) -> None:
    if problem is not None:
        where = "" if line is None else f", which line {line} names with commas between them,"
        raise InvalidRequestError(f"The columns{where} are wrong.", errors=[replace(problem, line=line)])


def _name_problem(names: Sequence[str], kind: RowKind[Any]) -> FieldError | None:
    if kind.id_field not in names:
        return FieldError(pointer_to(kind.id_field), "missing_field", "The column is required.")
    seen: set[str] = set()
    for column, name in enumerate(names):
        problem = name_problem("", name)
        if problem is not None:
            return FieldError("", problem.code, f"Column {column + 1}: {problem.detail}")
        if name in seen:
            return FieldError(pointer_to(name), "duplicate_column", "The column is there twice.")
        seen.add(name)
    return None


def _component_problem(numbered: dict[int, int], fields: dict[str, int]) -> FieldError | None:
    if sorted(numbered) != list(range(len(numbered))):
        return FieldError("/x0", "missing_field", "The columns x0, x1, ... must leave no number out.")
    if numbered and "vector" in fields:
        return FieldError("/vector", "duplicate_column", "The vector is in `vector` or in x0, x1, ..., not both.")
    return None
