"""From the rows of uploaded predictions to numbers: checked against the task, and against the rows before them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from msgspec import UNSET

from service.actions.strategies import SMALLEST_COMMITTEE
from service.catalog.names import listed
from service.catalog.tasks import NUMBER_COLUMNS, Task
from service.codecs.rows import PredictionRow, Shares, pointer_to
from service.codecs.vectors import FLOAT32_MAX, decode_vectors
from service.errors import FieldError

TOLERANCE = 1e-3
"""How far the probabilities of an example may be from 1 in sum: half precision and four digits are enough."""

_MOST_MEMBERS = 1000
_MOST_DIMENSIONS = 100_000


class BadRowError(ValueError):
    """A row that cannot be stored; `problem` says why."""

    def __init__(self, pointer: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = FieldError(pointer, code, detail)

    def problem_at(self, line: int, example_id: str) -> FieldError:
        """The problem with the place of its row."""
        return replace(self.problem, line=line, id=example_id)


@dataclass(frozen=True, slots=True)
class Said:
    """What a row says, in the columns of the task; `members` one behind the other."""

    predictions: list[float]
    members: list[float]
    vectors: list[float]


@dataclass(frozen=True, slots=True)
class Form:
    """What every row of a version holds, as its first row does.

    Attributes:
        members: How many models of a committee; 0: none.
        dimensions: Length of the vectors; 0: none.
    """

    members: int
    dimensions: int


class PredictionChecks:
    """Reads rows for a task; the first good one says what all others must hold, unless a form is given."""

    def __init__(self, task: Task, classes: list[str], form: Form | None) -> None:
        self._task = task
        self._classes = classes
        self._known = frozenset(classes)
        self.form = form

    def read(self, row: PredictionRow, *, known: bool) -> Said:
        """What a row says of an example, if that is known.

        Raises:
            BadRowError: Its numbers are no predictions of the task, or it holds something else than rows before it.
        """
        if not known:
            raise BadRowError("/id", "unknown_example", "The project has no such example.")
        predictions, members = self._number(row) if self._task == "regression" else self._shares_of(row)
        count = len(members) // len(predictions)
        self._check_members(count)
        vector = self._vector(row)
        if self.form is None:
            self.form = Form(count, len(vector))
        return Said(predictions, members, vector)

    def _number(self, row: PredictionRow) -> tuple[list[float], list[float]]:
        for name in ("probabilities", "members"):
            if getattr(row, name) is not UNSET:
                raise BadRowError(f"/{name}", "wrong_task", "Of numbers, `mean` and `spread` are told.")
        numbers = []
        for name in NUMBER_COLUMNS:
            value = getattr(row, name)
            if value is UNSET:
                raise BadRowError(f"/{name}", "missing_field", "The field is required: labels are numbers.")
            if not abs(value) <= FLOAT32_MAX:
                raise BadRowError(f"/{name}", "not_finite", "Not a finite float32 number.")
            numbers.append(value)
        if numbers[1] < 0:
            raise BadRowError("/spread", "out_of_range", "A spread is a standard deviation: 0 or more.")
        return numbers, []

    def _shares_of(self, row: PredictionRow) -> tuple[list[float], list[float]]:
        """Probabilities, and those of members; the mean of the members when only they are told."""
        for name in NUMBER_COLUMNS:
            if getattr(row, name) is not UNSET:
                raise BadRowError(f"/{name}", "wrong_task", "The labels of this project are classes, not numbers.")
        members = [] if row.members is UNSET else self._members(row.members)
        if row.probabilities is not UNSET:
            shares = self._shares(row.probabilities, ("probabilities",))
        elif members:
            shares = [sum(column) / len(members) for column in zip(*members, strict=True)]
        else:
            raise BadRowError("/probabilities", "missing_field", "A row needs `probabilities` or `members`.")
        return shares, [p for member in members for p in member]

    def _members(self, said: list[Shares]) -> list[list[float]]:
        if not SMALLEST_COMMITTEE <= len(said) <= _MOST_MEMBERS:
            detail = f"A committee has {SMALLEST_COMMITTEE} to {_MOST_MEMBERS} members."
            raise BadRowError("/members", "wrong_members", detail)
        return [self._shares(one, ("members", i)) for i, one in enumerate(said)]

    def _shares(self, said: Shares, path: tuple[str | int, ...]) -> list[float]:
        """Probabilities in the order of the classes; of one class an example they sum to 1."""
        classes = self._classes
        names: Sequence[str | int] = range(len(classes))
        if isinstance(said, Mapping):
            unknown = next((name for name in said if name not in self._known), None)
            if unknown is not None:
                raise BadRowError(pointer_to(*path, unknown), "unknown_class", f"Known classes: {listed(classes)}.")
            names = classes
        if len(said) != len(classes):
            detail = f"Expected {len(classes)} numbers: one for each class of the project."
            raise BadRowError(pointer_to(*path), "wrong_classes", detail)
        shares = [said[name] for name in classes] if isinstance(said, Mapping) else said
        for name, p in zip(names, shares, strict=True):
            if not 0 <= p <= 1 + TOLERANCE:
                raise BadRowError(pointer_to(*path, name), "out_of_range", "A probability is a number from 0 to 1.")
        if self._task == "multi_label":
            return [min(p, 1.0) for p in shares]
        total = math.fsum(shares)
        if abs(total - 1) > TOLERANCE:
            detail = f"The probabilities of an example sum to 1, within {TOLERANCE}."
            raise BadRowError(pointer_to(*path), "wrong_sum", detail)
        return [p / total for p in shares]

    def _check_members(self, count: int) -> None:
        if self.form is None or count == self.form.members:
            return
        if not count:
            raise BadRowError("/members", "missing_field", "Other rows of this version have members.")
        detail = f"Expected {self.form.members} members, as in other rows of this version."
        raise BadRowError("/members", "wrong_members", detail)

    def _vector(self, row: PredictionRow) -> list[float]:
        if row.vector is UNSET:
            if self.form is not None and self.form.dimensions:
                raise BadRowError("/vector", "missing_field", "Other rows of this version have vectors.")
            return []
        if self.form is None:
            size = len(row.vector) * 3 // 16 if isinstance(row.vector, str) else len(row.vector)
            dimensions = min(size, _MOST_DIMENSIONS)
        else:
            dimensions = self.form.dimensions
        if not dimensions:
            detail = "Vectors have numbers, and either all rows of a version have one or none has."
            raise BadRowError("/vector", "wrong_dimensions", detail)
        matrix, problems = decode_vectors([row.vector], dimensions)
        for problem in problems.values():
            raise BadRowError(problem.pointer, problem.code, problem.detail)
        vector: list[float] = matrix[0].tolist()
        return vector
