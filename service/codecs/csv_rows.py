"""Rows of CSV with a header."""

import csv
import math
import re
from collections.abc import Iterator
from typing import Any, Generic

import msgspec

from service.codecs.blocks import Parsed
from service.codecs.exports import original
from service.codecs.json_rows import check_blank_lines, split_lines
from service.codecs.limits import Limits
from service.codecs.row_errors import explain_type, named
from service.codecs.rows import Row, RowKind, name_problem, pointer_to
from service.errors import FieldError, InvalidRequestError, MalformedRequestError, PayloadTooLargeError

# the module's own limit is per process and too small for texts; _Lines bounds whole records instead
csv.field_size_limit(2**31 - 1)

_NUMBERS = re.compile(r"[-+0-9.eE,]*")
_COMPONENT = re.compile(r"x(0|[1-9][0-9]*)")


class _CellError(ValueError):
    def __init__(self, problem: FieldError) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def read_csv(chunks: Iterator[bytes], kind: RowKind[Row], limits: Limits, *, components: bool) -> Iterator[Parsed[Row]]:
    """Each record after the header; an empty cell is an absent field.

    Args:
        chunks: The body.
        kind: What the rows are.
        limits: Bounds a record.
        components: Whether columns x0, x1, ... are the numbers of the vector (else they are data).

    Raises:
        MalformedRequestError: It is not CSV in UTF-8.
        InvalidRequestError: The header is wrong.
        PayloadTooLargeError: A record is over `max_line_bytes`, as one with a quote that never closes is, or more lines
            are blank than there may be rows.
    """
    lines = _Lines(chunks, limits.max_line_bytes)
    records = csv.reader(lines, strict=True)
    try:
        header = next(records, None)
        if header is None:
            return
        table = _Table(header, kind, components=components)
        blank = 0
        while True:
            lines.record_bytes = 0
            line = records.line_num + 1
            cells = next(records, None)
            if cells is None:
                return
            if not cells:
                blank += 1
                check_blank_lines(blank, limits)
            else:
                yield line, lines.record_bytes, table.row(cells)
    except csv.Error as error:
        raise MalformedRequestError(f"Line {records.line_num} is not valid CSV.") from error


class _Lines:
    """The lines of the body as text; counts the bytes of the record that is being read."""

    def __init__(self, chunks: Iterator[bytes], max_bytes: int) -> None:
        self._lines = split_lines(chunks, max_bytes)
        self._max_bytes = max_bytes
        self._number = 0
        self.record_bytes = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._number += 1
        self.record_bytes += 0 if line is None else len(line) + 1
        if line is None or self.record_bytes > self._max_bytes:
            raise PayloadTooLargeError(f"The record at line {self._number} is over {self._max_bytes} bytes.")
        try:
            return line.decode() + "\n"
        except UnicodeDecodeError as error:
            raise MalformedRequestError(f"Line {self._number} is not valid UTF-8.") from error


class _Table(Generic[Row]):
    """The header, understood once, and the way from cells to a row."""

    def __init__(self, header: list[str], kind: RowKind[Row], *, components: bool) -> None:
        self._kind: RowKind[Row] = kind
        self._width = len(header)
        self._components: list[int] = []
        self._fields: dict[str, int] = {}
        self._data: dict[str, int] = {}
        self._check_names(header)
        known = set(kind.row_type.__struct_fields__) - {"data"}
        for column, name in enumerate(header):
            if name in known:
                self._fields[name] = column
            elif not kind.other_columns:
                raise _bad_header(pointer_to(name), "unknown_field", "There is no such column.")
            elif not (components and _COMPONENT.fullmatch(name)):
                self._data[name] = column
        if components:
            self._components = self._component_columns(header)

    def row(self, cells: list[str]) -> Row | FieldError:
        """The row of one record, or its first problem."""
        if len(cells) != self._width:
            return FieldError("", "wrong_columns", f"Expected {self._width} cells, as in the header.")
        key = original(cells[self._fields[self._kind.id_field]])
        try:
            row = msgspec.convert(self._values(cells), self._kind.row_type)
        except _CellError as error:
            return named(error.problem, key)
        except msgspec.ValidationError as error:
            return named(explain_type(error), key)
        problem = row.problem()
        return row if problem is None else named(problem, key)

    def _values(self, cells: list[str]) -> dict[str, Any]:
        values: dict[str, Any] = {name: original(cells[i]) for name, i in self._fields.items() if cells[i]}
        if "priority" in values:
            values["priority"] = _number(values["priority"], "priority")
        if "skip" in values:
            values["skip"] = _boolean(values["skip"], "skip")
        numbers = [cells[i] for i in self._components]
        if any(numbers):
            values["vector"] = _vector(numbers)
        data = {name: original(cells[i]) for name, i in self._data.items() if cells[i]}
        return {**values, "data": data} if data else values

    def _check_names(self, header: list[str]) -> None:
        if self._kind.id_field not in header:
            raise _bad_header(pointer_to(self._kind.id_field), "missing_field", "The column is required.")
        for column, name in enumerate(header):
            problem = name_problem("", name)
            if problem is not None:
                raise _bad_header("", problem.code, f"Column {column + 1}: {problem.detail}")
            if name in header[:column]:
                raise _bad_header(pointer_to(name), "duplicate_column", "The column stands twice in the header.")

    def _component_columns(self, header: list[str]) -> list[int]:
        numbered = {int(match[1]): i for i, name in enumerate(header) if (match := _COMPONENT.fullmatch(name))}
        if sorted(numbered) != list(range(len(numbered))):
            raise _bad_header("/x0", "missing_field", "The columns x0, x1, ... must leave no number out.")
        if numbered and "vector" in self._fields:
            raise _bad_header("/vector", "duplicate_column", "The vector is in `vector` or in x0, x1, ..., not both.")
        return [numbered[i] for i in range(len(numbered))]


def _vector(cells: list[str]) -> list[float]:
    if _NUMBERS.fullmatch(",".join(cells)):
        try:
            return [float(cell) for cell in cells]
        except ValueError:
            pass  # the way below finds which cell it was
    return [_number(cell, "vector", i) for i, cell in enumerate(cells)]


def _number(cell: str, *path: str | int) -> float:
    """A decimal number, as in JSON; what else Python's float takes (nan, 1_000, spaces) is refused."""
    try:
        number = float(cell)
    except ValueError:
        raise _CellError(FieldError(pointer_to(*path), "wrong_type", "Expected number.")) from None
    if not math.isfinite(number):
        raise _CellError(FieldError(pointer_to(*path), "not_finite", "Not a finite number."))
    if not _NUMBERS.fullmatch(cell):
        raise _CellError(FieldError(pointer_to(*path), "wrong_type", "Expected number."))
    return number


def _boolean(cell: str, *path: str) -> bool:
    value = {"true": True, "false": False}.get(cell.lower())
    if value is None:
        raise _CellError(FieldError(pointer_to(*path), "wrong_type", "Expected true or false."))
    return value


def _bad_header(pointer: str, code: str, detail: str) -> InvalidRequestError:
    return InvalidRequestError("The CSV header is wrong.", errors=[FieldError(pointer, code, detail, line=1)])
