"""Rows of CSV with a header."""

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Generic

import msgspec

from service.codecs.blocks import Parsed
from service.codecs.columns import Columns
from service.codecs.csv_types import READ, ColumnType, Inference
from service.codecs.exports import original
from service.codecs.json_rows import check_blank_lines, split_lines
from service.codecs.limits import Limits
from service.codecs.row_errors import explain_syntax, explain_type, named
from service.codecs.rows import Row, RowKind, pointer_to
from service.errors import FieldError, MalformedRequestError, PayloadTooLargeError

# the module's own limit is per process and too small for texts; _Lines bounds whole records instead
csv.field_size_limit(2**31 - 1)

_NUMBERS = re.compile(r"[-+0-9.eE,]*")


class _CellError(ValueError):
    def __init__(self, problem: FieldError) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def read_csv(
    chunks: Iterator[bytes],
    kind: RowKind[Row],
    limits: Limits,
    *,
    components: bool,
    types: Mapping[str, ColumnType] | None = None,
) -> Iterator[Parsed[Row]]:
    """Each record after the header; an empty cell is an absent field.

    Args:
        chunks: The body.
        kind: What the rows are.
        limits: Bounds a record.
        components: Whether columns x0, x1, ... are the numbers of the vector (else they are data).
        types: Of the columns of data, from `infer_types`; a column that is not named is text.

    Raises:
        MalformedRequestError: It is not CSV in UTF-8.
        InvalidRequestError: The header is wrong.
        PayloadTooLargeError: A record is over `max_line_bytes`, as one with a quote that never closes is, or more lines
            are blank than there may be rows.
    """
    records = _records(chunks, limits)
    for _, _, header in records:
        table = _Table(header, kind, components=components, types=types or {})
        for line, size, cells in records:
            yield line, size, table.row(cells)


def infer_types(
    chunks: Iterator[bytes], kind: RowKind[Row], limits: Limits, *, components: bool
) -> dict[str, ColumnType]:
    """The types of the columns of data, by all of their cells; raises what `read_csv` raises."""
    records = _records(chunks, limits)
    for _, _, header in records:
        columns = Columns.of(header, kind, components=components, line=1)
        inference = Inference(columns.data)
        for _, _, cells in records if columns.data else ():
            if len(cells) == len(header):
                inference.add((name, original(cells[i])) for name, i in columns.data.items() if cells[i])
        return inference.types
    return {}


def _records(chunks: Iterator[bytes], limits: Limits) -> Iterator[tuple[int, int, list[str]]]:
    """Line, size in bytes and cells of the header and of each record that is not blank."""
    lines = _Lines(chunks, limits.max_line_bytes)
    records = csv.reader(lines, strict=True)
    blank = 0
    try:
        header = next(records, None)
        if header is None:
            return
        yield 1, lines.record_bytes, header
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
                yield line, lines.record_bytes, cells
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

    def __init__(
        self, header: list[str], kind: RowKind[Row], *, components: bool, types: Mapping[str, ColumnType]
    ) -> None:
        self._kind: RowKind[Row] = kind
        self._columns = Columns.of(header, kind, components=components, line=1)
        self._data = [(name, i, _reader(name, types.get(name, "text"))) for name, i in self._columns.data.items()]

    def row(self, cells: list[str]) -> Row | FieldError:
        """The row of one record, or its first problem."""
        if len(cells) != len(self._columns.names):
            return FieldError("", "wrong_columns", f"Expected {len(self._columns.names)} cells, as in the header.")
        key = original(cells[self._columns.fields[self._kind.id_field]])
        try:
            row = msgspec.convert(self._values(cells), self._kind.row_type)
        except _CellError as error:
            return named(error.problem, key)
        except msgspec.ValidationError as error:
            return named(explain_type(error, self._kind.row_type), key)
        problem = row.problem()
        return row if problem is None else named(problem, key)

    def _values(self, cells: list[str]) -> dict[str, Any]:
        values: dict[str, Any] = {name: original(cells[i]) for name, i in self._columns.fields.items() if cells[i]}
        for name in (name for name in self._kind.numbers if name in values):
            values[name] = _number(values[name], name)
        for name in (name for name in self._kind.documents if name in values):
            values[name] = _document(values[name], name)
        if "skip" in values:
            values["skip"] = _boolean(values["skip"], "skip")
        numbers = [cells[i] for i in self._columns.components]
        if any(numbers):
            values["vector"] = _vector(numbers)
        data = {name: read(original(cells[i])) for name, i, read in self._data if cells[i]}
        return {**values, "data": data} if data else values


def _reader(name: str, kind: ColumnType) -> Callable[[str], Any]:
    """From a cell of data to its value; whoever says that a column holds numbers may be wrong."""
    return (lambda cell: _number(cell, "data", name)) if kind == "number" else READ[kind]


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


def _document(cell: str, name: str) -> object:
    """A list or an object, written as JSON."""
    try:
        value: object = msgspec.json.decode(cell)
    except msgspec.ValidationError as error:
        problem = explain_type(error)
    except (msgspec.DecodeError, RecursionError):
        problem = explain_syntax(cell.encode())
    else:
        return value
    raise _CellError(replace(problem, pointer=pointer_to(name)))


def _boolean(cell: str, *path: str) -> bool:
    value = {"true": True, "false": False}.get(cell.lower())
    if value is None:
        raise _CellError(FieldError(pointer_to(*path), "wrong_type", "Expected true or false."))
    return value
