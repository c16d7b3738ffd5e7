"""The rows of bulk bodies: their types, what is checked of each alone, and their hashes.

What needs the project (classes, known examples) is checked by the actions.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from service.catalog.sources import OF_MODELS
from service.concealing import conceal
from service.errors import FieldError

MAX_NAME_LENGTH = 256
MAX_DEPTH = 64
INT64 = 2**63
HASH_BYTES = 16

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode

Label = str | int | float | list[str]
Shares = dict[str, float] | list[float]
"""Probabilities by class, or in the order of the classes."""


class ExampleRow(msgspec.Struct, forbid_unknown_fields=True):
    """One uploaded example; `label` is the annotator's answer that may come with it, or the right one of `gold`."""

    id: str
    vector: list[float] | str | UnsetType = UNSET
    data: dict[str, Any] | UnsetType = UNSET
    label: Label | UnsetType = UNSET
    annotator: str | UnsetType = UNSET
    split: Literal["pool", "test", "gold"] = "pool"
    group: str | None = None
    priority: float | None = None

    @property
    def key(self) -> str:
        """The client's id, by which errors name the row."""
        return self.id

    def problem(self) -> FieldError | None:
        """The first problem of the decoded row."""
        problem = name_problem("/id", self.id, code="invalid_id")
        if problem is None:
            problem = _annotator_problem(self.annotator)
        if problem is None and self.group is not None:
            problem = name_problem("/group", self.group)
        if problem is None and self.label is not UNSET:
            problem = _value_problem(self.label, ("label",))
        if problem is None and self.split == "gold" and self.label is UNSET:
            problem = FieldError("/label", "missing_field", "A gold question needs its right answer.")
        if problem is None and self.data is not UNSET:
            problem = _value_problem(self.data, ("data",))
        return problem


class LabelRow(msgspec.Struct, forbid_unknown_fields=True):
    """One label, or a skip; exactly one of `label` and `skip` is given."""

    example_id: str
    label: Label | UnsetType = UNSET
    skip: bool = False
    annotator: str | UnsetType = UNSET
    source: Literal["human", "automated"] = "human"
    batch_id: str | UnsetType = UNSET
    labeled_at: Annotated[datetime, msgspec.Meta(tz=True)] | UnsetType = UNSET

    @property
    def key(self) -> str:
        """The client's id of the example, by which errors name the row."""
        return self.example_id

    def problem(self) -> FieldError | None:
        """The first problem of the decoded row."""
        problem = name_problem("/example_id", self.example_id, code="invalid_id")
        if problem is None:
            problem = _annotator_problem(self.annotator)
        if problem is None and self.batch_id is not UNSET:
            problem = name_problem("/batch_id", self.batch_id)
        if problem is None and self.labeled_at is not UNSET:
            problem = _time_problem(self.labeled_at)
        if problem is None and self.label is not UNSET:
            problem = _value_problem(self.label, ("label",))
        return problem or _answer_problem(self)


class PredictionRow(msgspec.Struct, forbid_unknown_fields=True):
    """What a model of the client's own says of one example; which fields are needed depends on the task."""

    id: str
    probabilities: Shares | UnsetType = UNSET
    members: list[Shares] | UnsetType = UNSET
    mean: float | UnsetType = UNSET
    spread: float | UnsetType = UNSET
    vector: list[float] | str | UnsetType = UNSET

    @property
    def key(self) -> str:
        """The client's id of the example, by which errors name the row."""
        return self.id

    def problem(self) -> FieldError | None:
        """The first problem of the decoded row."""
        return name_problem("/id", self.id, code="invalid_id")


Row = TypeVar("Row", ExampleRow, LabelRow, PredictionRow)


@dataclass(frozen=True, slots=True)
class RowKind(Generic[Row]):
    """What the readers must know of a kind of row.

    Attributes:
        name: The field of a JSON document that holds the rows.
        row_type: The struct of a row.
        id_field: The field that names the example.
        other_columns: Whether unknown CSV columns are the row's `data`.
        numbers: Fields that are numbers in CSV.
        documents: Fields that are written as JSON in CSV.
    """

    name: str
    row_type: type[Row]
    id_field: str
    other_columns: bool
    numbers: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()


def content_hash(row: ExampleRow, vector_hash: bytes | None) -> bytes:
    """Hash of all that makes an uploaded example what it is (its label is a label, not content).

    Args:
        row: The example.
        vector_hash: The `features_hash` of its vector, when it has one.
    """
    content: list[Any] = [row.data if row.data is not UNSET else None, row.split, row.group, row.priority]
    digest = blake2b(_encode_sorted(content), digest_size=HASH_BYTES)
    if vector_hash is not None:
        # JSON text holds no NUL, so the border between content and vector is unambiguous
        digest.update(b"\0" + vector_hash)
    return digest.digest()


def features_hash(seen_by_model: bytes | memoryview | str) -> bytes:
    """Hash of what a model sees of an example: the vector as little-endian float32, or the text field's value."""
    data = seen_by_model.encode() if isinstance(seen_by_model, str) else seen_by_model
    return blake2b(data, digest_size=HASH_BYTES).digest()


def pointer_to(*parts: str | int) -> str:
    """The JSON pointer of a field; it ends before the first name that is too odd or long to repeat."""
    pointer = ""
    for part in parts:
        name = str(part)
        if len(name) > MAX_NAME_LENGTH or not name.isprintable():
            break
        pointer += "/" + conceal(name).replace("~", "~0").replace("/", "~1")
    return pointer


def name_problem(pointer: str, value: str, *, code: str = "invalid_text") -> FieldError | None:
    """What is wrong with an id or a name: 1 to 256 characters, no control characters."""
    if 0 < len(value) <= MAX_NAME_LENGTH and value.isprintable():
        return None
    if not value:
        return FieldError(pointer, code, "Must not be empty.")
    if len(value) > MAX_NAME_LENGTH:
        return FieldError(pointer, "too_long", f"At most {MAX_NAME_LENGTH} characters are allowed.")
    if _CONTROL.search(value):
        return FieldError(pointer, code, "Control characters are not allowed.")
    return None


def _annotator_problem(value: str | UnsetType) -> FieldError | None:
    if value is UNSET:
        return None
    if value.startswith(OF_MODELS):
        return FieldError("/annotator", "reserved_name", f"Names that begin with `{OF_MODELS}` are those of models.")
    return name_problem("/annotator", value)


def _answer_problem(row: LabelRow) -> FieldError | None:
    if row.skip and row.label is not UNSET:
        return FieldError("/skip", "invalid_value", "A row is a label or a skip, not both.")
    if not row.skip and row.label is UNSET:
        return FieldError("/label", "missing_field", "A row needs a label, or skip: true.")
    return None


def _time_problem(value: datetime) -> FieldError | None:
    try:
        value.astimezone(UTC)
    except OverflowError:
        return FieldError("/labeled_at", "invalid_time", "The time is outside the years 1 to 9999 in UTC.")
    return None


def _value_problem(value: object, path: tuple[str | int, ...]) -> FieldError | None:
    """The first thing in a decoded value that not every store can hold; `path` leads to the value."""
    if not isinstance(value, dict | list):
        return _scalar_problem(value, path)
    if len(path) > MAX_DEPTH:
        return FieldError(pointer_to(path[0]), "too_deep", f"At most {MAX_DEPTH} levels of nesting are allowed.")
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for step, inner in inside:
        problem = _scalar_problem(step, path) or _value_problem(inner, (*path, step))
        if problem is not None:
            return problem
    return None


def _scalar_problem(value: object, path: tuple[str | int, ...]) -> FieldError | None:
    if isinstance(value, str) and "\0" in value:
        return FieldError(pointer_to(*path), "invalid_text", "NUL characters are not allowed.")
    if isinstance(value, int) and not -INT64 <= value < INT64:
        return FieldError(pointer_to(*path), "out_of_range", "The number is over 64 bits.")
    return None


EXAMPLES = RowKind("examples", ExampleRow, "id", other_columns=True, numbers=("priority",))
LABELS = RowKind("labels", LabelRow, "example_id", other_columns=False)
PREDICTIONS = RowKind(
    "predictions",
    PredictionRow,
    "id",
    other_columns=False,
    numbers=("mean", "spread"),
    documents=("probabilities", "members"),
)
