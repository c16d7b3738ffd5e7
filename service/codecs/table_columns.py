"""From the columns of record batches to rows; only the process that decodes tables loads this."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from service.codecs.columns import Columns
from service.codecs.row_errors import named
from service.codecs.rows import EXAMPLES, PREDICTIONS, RowKind, pointer_to
from service.codecs.table_frames import MAX_FRAME_BYTES, Place, Rows, Task
from service.codecs.vectors import NO_VECTOR, hash_vectors, wrong_length
from service.errors import FieldError, InvalidRequestError

_MAX_COLUMNS = 100_100  # the longest vector in x0, x1, ..., and some
_MAX_DEPTH = 8
_EXTENSION = b"ARROW:extension:name"
_encode = msgspec.msgpack.Encoder().encode
_NOTHING = msgspec.Raw(_encode({}))

Cells = list[Any]
Problems = dict[int, FieldError]


class Table:
    """The columns of a body, understood once, and the way from record batches to rows."""

    def __init__(self, schema: pa.Schema, task: Task, body: pa.Buffer) -> None:
        """Check the columns of a body, mapped.

        Raises:
            InvalidRequestError: A name is wrong, or a type is not read.
        """
        if len(schema) > _MAX_COLUMNS:
            raise InvalidRequestError(f"At most {_MAX_COLUMNS} columns are read.")
        self._task = task
        self._body = body
        self._room = task.max_row_bytes - 4 * (task.dimensions or 0)
        kind: RowKind[Any] = EXAMPLES if task.rows == "examples" else PREDICTIONS
        self._columns = Columns.of(schema.names, kind, components=task.dimensions is not None)
        self._apart = {"vector"} if task.rows == "examples" else set()  # of the fields, what is not in the rows
        problems = list(_type_problems(schema, self._columns))
        if problems:
            raise InvalidRequestError("Some columns have types that are not read.", errors=problems[:20])
        self._encoded = [i for i, field in enumerate(schema) if types.is_dictionary(field.type)]

    def plain(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with its dictionaries written out."""
        for i in self._encoded:
            column = batch.column(i).dictionary_decode()
            batch = batch.set_column(i, batch.schema.field(i).with_type(column.type), column)
        return batch

    def rows(self, batch: pa.RecordBatch) -> Rows:
        """The rows of a plain batch."""
        problems: Problems = {}
        vectors = self._vectors(batch, problems)
        fields = {
            name: _cells(batch.column(i), (name,), problems)
            for name, i in self._columns.fields.items()
            if name not in self._apart
        }
        data = {name: _cells(batch.column(i), ("data", name), problems) for name, i in self._columns.data.items()}
        rows = []
        for i in range(len(batch)):
            row = {name: cells[i] for name, cells in fields.items() if cells[i] is not None}
            shown = {name: cells[i] for name, cells in data.items() if cells[i] is not None}
            if shown:
                row["data"] = shown
            rows.append(row)
        encoded = _encode(rows)
        if problems or len(encoded) > self._room:
            encoded = _encode(self._one_by_one(rows, problems))
        hashes = b"" if self._task.dimensions is None else hash_vectors(vectors)
        return Rows(msgspec.Raw(encoded), self._placed(vectors) or vectors.tobytes(), hashes, problems)

    def _placed(self, vectors: NDArray[np.float32]) -> Place | None:
        """Where in the body they are, unless they were made from what is there."""
        start = vectors.__array_interface__["data"][0] - self._body.address
        inside = start >= 0 and start + vectors.nbytes <= self._body.size
        return Place(start, vectors.nbytes) if inside and vectors.nbytes <= MAX_FRAME_BYTES else None

    def _one_by_one(self, rows: list[dict[str, Any]], problems: Problems) -> list[msgspec.Raw]:
        """Each row by itself, and nothing in place of those with a problem, of which one that is too large is one."""
        encoded = [msgspec.Raw(_encode(row)) for row in rows]
        detail = f"At most {self._task.max_row_bytes} bytes are allowed in a row."
        for i, raw in enumerate(encoded):
            if len(raw) > self._room:
                problems.setdefault(i, FieldError("", "too_long", detail))
        for i, problem in problems.items():
            encoded[i] = _NOTHING
            problems[i] = named(problem, rows[i].get("id") or "")
        return encoded

    def _vectors(self, batch: pa.RecordBatch, problems: Problems) -> NDArray[np.float32]:
        """The vectors (rows, dimensions), zeros where there is none; of no width when there may be none."""
        dimensions, place = self._task.dimensions, self._columns.fields.get("vector")
        if dimensions is None:
            if place is not None and "vector" in self._apart:
                problem = FieldError("/vector", "unknown_field", "The features of this project are not vectors.")
                problems.update(dict.fromkeys(_where(batch.column(place).is_valid()), problem))
            return np.empty((len(batch), 0), dtype=np.float32)
        if place is not None:
            return _matrix(batch.column(place), dimensions, problems)
        return _from_components([batch.column(i) for i in self._columns.components], len(batch), dimensions, problems)


def _matrix(column: pa.Array, dimensions: int, problems: Problems) -> NDArray[np.float32]:
    """The vectors of a column of lists."""
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    good = valid & (lengths == dimensions)
    numbers = _numbers(column.flatten())  # without the values of rows that are null
    if good.all():
        return numbers.reshape(len(column), dimensions)
    _missing(~valid, problems)
    problems.update(dict.fromkeys(np.flatnonzero(valid & ~good).tolist(), wrong_length(dimensions)))
    matrix = np.zeros((len(column), dimensions), dtype=np.float32)
    stops = np.cumsum(np.where(valid, lengths, 0))
    starts = stops[good] - dimensions
    matrix[good] = numbers[starts[:, np.newaxis] + np.arange(dimensions)]
    return matrix


def _from_components(columns: list[pa.Array], rows: int, dimensions: int, problems: Problems) -> NDArray[np.float32]:
    """The vectors of columns x0, x1, ..."""
    given = np.zeros(rows, dtype=np.bool_)
    for column in columns:
        given |= column.is_valid().to_numpy(zero_copy_only=False)
    _missing(~given, problems)
    if len(columns) != dimensions:
        problems.update(dict.fromkeys(np.flatnonzero(given).tolist(), wrong_length(dimensions)))
        return np.zeros((rows, dimensions), dtype=np.float32)
    matrix = np.empty((rows, dimensions), dtype=np.float32)
    for i, column in enumerate(columns):
        matrix[:, i] = _numbers(column)
    return np.where(given[:, np.newaxis], matrix, np.float32(0))


def _missing(rows: NDArray[np.bool_], problems: Problems) -> None:
    problems.update(dict.fromkeys(np.flatnonzero(rows).tolist(), NO_VECTOR))


def _numbers(column: pa.Array) -> NDArray[np.float32]:
    """Numbers as float32; what is null or too large is not finite then, which is checked with all other vectors."""
    as_float = column.cast(pa.float32(), safe=False)
    filled = as_float.fill_null(float("nan")) if as_float.null_count else as_float
    numbers: NDArray[np.float32] = filled.to_numpy(zero_copy_only=False)
    return numbers


def _cells(column: pa.Array, path: tuple[str, ...], problems: Problems) -> Cells:
    """The values of a column as JSON has them."""
    kind = column.type
    not_finite = FieldError(pointer_to(*path), "not_finite", "Not a finite number.")
    if types.is_floating(kind):
        bad = _where(pc.invert(pc.is_finite(column)).fill_null(False))
        problems.update(dict.fromkeys(bad, not_finite))
    elif types.is_temporal(kind):
        column = _as_text(column)
    cells: Cells = column.to_pylist()
    if types.is_nested(kind):
        bad = [i for i, cell in enumerate(cells) if _holds_no_number(cell)]
        problems.update(dict.fromkeys(bad, not_finite))
    return cells


def _as_text(column: pa.Array) -> pa.Array:
    """Dates and times as RFC 3339 writes them; a time of day without a zone has none."""
    if types.is_timestamp(column.type) and column.type.tz is not None:
        column = column.cast(pa.timestamp(column.type.unit, "UTC"))
    return pc.replace_substring(column.cast(pa.string()), " ", "T")


def _holds_no_number(value: object) -> bool:
    """Whether NaN or an infinity is anywhere in a value."""
    if isinstance(value, dict):
        return any(map(_holds_no_number, value.values()))
    if isinstance(value, list):
        return any(map(_holds_no_number, value))
    return isinstance(value, float) and not np.isfinite(value)


def _where(mask: pa.Array) -> list[int]:
    positions: list[int] = np.flatnonzero(mask.to_numpy(zero_copy_only=False)).tolist()
    return positions


def _type_problems(schema: pa.Schema, columns: Columns) -> Iterator[FieldError]:
    """What is wrong with the types of columns; a type that is not listed here is not read."""
    components = set(columns.components)
    for i, field in enumerate(schema):
        if field.metadata and _EXTENSION in field.metadata:
            yield FieldError(pointer_to(field.name), "wrong_type", "Extension types are not read.")
        elif i in components:
            if not _is_number(field.type):
                yield FieldError(pointer_to(field.name), "wrong_type", "Expected numbers.")
        elif field.name in columns.fields:
            wanted = _wanted(field.name, field.type)
            if wanted:
                yield FieldError(pointer_to(field.name), "wrong_type", wanted)
        elif not _is_data(field.type):
            detail = "Expected text, numbers, booleans, dates, times, or lists and structs of them."
            yield FieldError(pointer_to("data", field.name), "wrong_type", detail)


def _wanted(name: str, kind: pa.DataType) -> str | None:
    """What a field's column must be, unless it is."""
    if name == "vector":
        fits = _is_list(kind) and _is_number(kind.value_type)
        return None if fits else "Expected lists of numbers."
    if name in {"priority", "mean", "spread"}:
        return None if _is_number(kind) else "Expected numbers."
    if name == "probabilities":
        return None if _is_shares(kind) else "Expected lists of numbers, or structs of them by class."
    if name == "members":
        return None if _is_list(kind) and _is_shares(kind.value_type) else "Expected lists of such as `probabilities`."
    if name == "label":
        fits = (
            _is_text(kind)
            or _is_number(kind)
            or types.is_boolean(kind)
            or (_is_list(kind) and _is_text(kind.value_type))
        )
        return None if fits else "Expected text, numbers, or lists of text."
    return None if _is_text(kind) or types.is_null(kind) else "Expected text."


def _is_shares(kind: pa.DataType) -> bool:
    if _is_list(kind):
        return _is_number(kind.value_type)
    return bool(types.is_struct(kind) and all(_is_number(field.type) for field in kind))


def _is_text(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_null(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_data(kind: pa.DataType, depth: int = 0) -> bool:
    if depth > _MAX_DEPTH:
        return False
    if _is_list(kind):
        return _is_plain(kind.value_field) and _is_data(kind.value_type, depth + 1)
    if types.is_struct(kind):
        return all(_is_plain(field) and _is_data(field.type, depth + 1) for field in kind)
    if types.is_dictionary(kind):
        return depth == 0 and _is_text(kind)
    scalar = _is_text(kind) or _is_number(kind) or types.is_boolean(kind)
    return bool(scalar or ((types.is_date(kind) or types.is_timestamp(kind)) and depth == 0))


def _is_plain(field: pa.Field) -> bool:
    return not (field.metadata and _EXTENSION in field.metadata)
