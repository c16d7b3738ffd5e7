"""What features are read from in an example's data: checked at the door, and hashed to see when it changes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from service.codecs.csv_types import ColumnType
from service.codecs.rows import pointer_to
from service.codecs.vectors import FLOAT32_MAX
from service.db.tables import Project
from service.errors import FieldError

Data = Mapping[str, Any]

_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_TIME = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[-+]\d\d:\d\d)?)?", re.ASCII)


class Content(Protocol):
    """What a project's features are read from."""

    @property
    def column_types(self) -> Mapping[str, ColumnType]:
        """What columns of CSV are, whatever their cells look like."""
        ...

    def problem(self, data: Data | None) -> FieldError | None:
        """Why an example's data does not suit, or None."""
        ...

    def seen(self, data: Data | None) -> str | bytes:
        """What a model sees of data that suits, for its hash."""
        ...


def content_of(project: Project) -> Content:
    """What the features of a project are read from."""
    features = project.features
    if features["type"] == "text":
        return _Text(features["field"])
    if features["type"] == "tabular":
        kinds = {field["name"]: field["type"] for field in features["fields"]}
        return _Table(kinds, refuses_others=features["params"].get("other_fields") == "refuse")
    return _Anything()


class _Anything:
    """Features are elsewhere: all of the data may be what a model of the client's own sees."""

    @property
    def column_types(self) -> Mapping[str, ColumnType]:
        return {}

    def problem(self, data: Data | None) -> FieldError | None:  # noqa: ARG002  # any data will do
        return None

    def seen(self, data: Data | None) -> bytes:
        return _encode_sorted(data)


@dataclass(frozen=True, slots=True)
class _Text:
    """One field of text, which every example has."""

    field: str

    @property
    def column_types(self) -> Mapping[str, ColumnType]:
        return {self.field: "text"}

    def problem(self, data: Data | None) -> FieldError | None:
        if data is None or self.field not in data:
            return FieldError(pointer_to("data", self.field), "missing_field", "The features are read from this field.")
        if not isinstance(data[self.field], str):
            return FieldError(pointer_to("data", self.field), "wrong_type", "Expected string.")
        return None

    def seen(self, data: Data | None) -> str:
        return str((data or {})[self.field])


@dataclass(frozen=True, slots=True)
class _Table:
    """Fields by their kind; any of them may be absent or null, but not all."""

    kinds: Mapping[str, str]
    refuses_others: bool

    @property
    def column_types(self) -> Mapping[str, ColumnType]:
        return {name: "number" if kind == "number" else "text" for name, kind in self.kinds.items()}

    def problem(self, data: Data | None) -> FieldError | None:
        data = data or {}
        for name, value in data.items():
            kind = self.kinds.get(name)
            if kind is None:
                if self.refuses_others:
                    return FieldError(pointer_to("data", name), "unknown_field", "The schema has no such field.")
            elif value is not None and (fault := _CHECKS[kind](value)) is not None:
                return FieldError(pointer_to("data", name), *fault)
        if all(data.get(name) is None for name in self.kinds):
            detail = "All fields that the features are read from are missing; at least one is needed."
            return FieldError("/data", "missing_field", detail)
        return None

    def seen(self, data: Data | None) -> bytes:
        given = data or {}
        return _encode_sorted({name: given[name] for name in self.kinds if given.get(name) is not None})


def _number_fault(value: object) -> tuple[str, str] | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "wrong_type", "Expected number."
    # NaN is no more below the limit than an infinity is
    return None if abs(value) <= FLOAT32_MAX else ("not_finite", "Not a finite float32 number.")


def _category_fault(value: object) -> tuple[str, str] | None:
    if isinstance(value, dict | list):
        return "wrong_type", "Expected string, number or boolean."
    return None


def _text_fault(value: object) -> tuple[str, str] | None:
    return None if isinstance(value, str) else ("wrong_type", "Expected string.")


def _date_fault(value: object) -> tuple[str, str] | None:
    if not isinstance(value, str):
        return "wrong_type", "Expected string."
    fault = "invalid_date", "Expected a date or a time as RFC 3339 writes it, in the years 1 to 9999."
    if not _TIME.fullmatch(value):
        return fault
    try:
        time = datetime.fromisoformat(value.upper())
        if time.tzinfo is not None:
            time.astimezone(UTC)
    except (ValueError, OverflowError):
        return fault
    return None


_CHECKS: Mapping[str, Callable[[object], tuple[str, str] | None]] = {
    "number": _number_fault,
    "category": _category_fault,
    "text": _text_fault,
    "date": _date_fault,
}
