"""Columns of a table as a dense matrix, in which one penalty suits all: numbers, categories, dates and text with gaps.

What the values of a field mean is learnt from a sample of the pool, once; then each row is encoded by itself.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from workers.learning.estimators.files import ModelFileError, read_file, tried
from workers.learning.estimators.terms import learn_terms
from workers.learning.featurizers.text import featurize

Values = Sequence[Any]
"""Of one field, row by row; None for a gap."""

SAMPLE = 10_000
"""Rows that an encoder is fitted to at most."""

MAX_CATEGORIES = 4_096
"""Of all fields together."""

# A number in units of two deviations is comparable with a column of zeros and ones (Gelman 2008).
_HALF = np.float32(0.5)
_FARTHEST = 4.0  # deviations; what is farther out tells no more than that it is far out
_TERMS = {"n_features": 2**16}
_TRUSTED = ["numpy.dtype"]  # which an imputer remembers; it holds the name of a type of numbers
_COUNTED = {"categories", "other_share"}
_CYCLES = (12, 7, 24)  # months, weekdays, hours


@dataclass(frozen=True)
class TabularEncoder:
    """Fitted to a sample of rows.

    Attributes:
        fields: name and type of each, in the order of its columns.
        parts: what was learnt of each field: scikit-learn's own classes.
        told: what is known of each category field: how many categories are told apart, and which share of the sample is
            `other`.
    """

    fields: Sequence[tuple[str, str]]
    parts: Sequence[Any]
    told: Sequence[Mapping[str, Any]]

    @classmethod
    def fit(
        cls, rows: Sequence[Mapping[str, Any]], fields: Sequence[Mapping[str, str]], params: Mapping[str, Any]
    ) -> Self:
        """Learn from a sample of rows, each a mapping of names to values; absent ones are gaps."""
        named = [(field["name"], field["type"]) for field in fields]
        categories = sum(kind == "category" for _, kind in named)
        limited = {**params, "max_categories": _share(params["max_categories"], categories)}
        parts, told = [], []
        for name, kind in named:
            part, note = _KINDS[kind].fit([row.get(name) for row in rows or [{}]], limited)
            parts.append(part)
            told.append({"name": name, "type": kind, **note})
        return cls(named, parts, told)

    def encode(self, rows: Sequence[Mapping[str, Any] | None]) -> NDArray[np.float32]:
        """Rows [n, columns]; zeros where there is no row."""
        present = np.array([row is not None for row in rows], dtype=np.bool_)
        given = [row for row in rows if row is not None] or [{}]
        blocks = [
            _KINDS[kind].encode([row.get(name) for row in given], part)
            for (name, kind), part in zip(self.fields, self.parts, strict=True)
        ]
        made = np.hstack(blocks, dtype=np.float32)
        encoded = np.zeros((len(rows), made.shape[1]), dtype=np.float32)
        encoded[present] = made[: np.count_nonzero(present)]
        return encoded

    def dump(self) -> bytes:
        """Its file (skops format)."""
        data: bytes = skops.io.dumps({"fields": list(map(list, self.fields)), "parts": self.parts, "told": self.told})
        return data

    @classmethod
    def load(cls, data: bytes) -> Self:
        """From a file made by `dump`.

        Raises:
            ModelFileError: when the file holds anything else.
        """
        match read_file(data, trusted=_TRUSTED):
            case {"fields": list() as fields, "parts": list() as parts, "told": list() as told, **others} if not others:
                pass
            case _:
                raise ModelFileError("It holds no encoder of tables.")
        if not fields or not len(fields) == len(parts) == len(told) or not all(map(_belong, fields, parts, told)):
            raise ModelFileError("It holds no encoder of tables.")
        encoder = cls([(name, kind) for name, kind in fields], parts, told)
        some = {name: _KINDS[kind].some for name, kind in encoder.fields}
        tried(lambda: encoder.encode([some, {}]))
        return encoder


def _belong(field: Any, part: Any, note: Any) -> bool:
    """Whether these are a field, what was learnt of it, and what is told of it."""
    match field, note:
        case [str() as name, str() as kind], {"name": str() as of, "type": str() as said, **counts} if kind in _KINDS:
            numbers = counts.keys() <= _COUNTED and all(isinstance(value, int | float) for value in counts.values())
            return (of, said) == (name, kind) and numbers and isinstance(part, _KINDS[kind].part)
    return False


def _share(wanted: int, fields: int) -> int:
    return min(wanted, max(1, MAX_CATEGORIES // max(fields, 1)))


@dataclass(frozen=True, slots=True)
class _Kind:
    """How values of a type are learnt from, with a note for the client, and encoded [n, columns].

    `part` is the class of what is learnt, and `some` a value.
    """

    fit: Callable[[Values, Mapping[str, Any]], tuple[Any, dict[str, Any]]]
    encode: Callable[[Values, Any], NDArray[Any]]
    part: type
    some: str | float


def _gaps(values: Values) -> NDArray[np.float32]:
    """1 for each gap [n, 1]."""
    return np.array([[value is None] for value in values], dtype=np.float32)


def _fit_numbers(values: Values, _: Mapping[str, Any]) -> tuple[Pipeline, dict[str, Any]]:
    return _fit_columns(_as_column(values)), {}


def _encode_numbers(values: Values, part: Pipeline) -> NDArray[Any]:
    return np.hstack([_standardised(_as_column(values), part), _gaps(values)])


def _as_column(values: Values) -> NDArray[np.float64]:
    return np.array([[np.nan if value is None else value] for value in values], dtype=np.float64)


def _fit_columns(X: NDArray[np.float64]) -> Pipeline:
    """The medians and deviations of columns; 0 where a column is nothing but gaps."""
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()).fit(X)


def _standardised(X: NDArray[np.float64], part: Pipeline) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = np.clip(part.transform(X), -_FARTHEST, _FARTHEST).astype(np.float32)
    return scaled * _HALF


def _fit_categories(values: Values, params: Mapping[str, Any]) -> tuple[OneHotEncoder, dict[str, Any]]:
    """The most frequent categories, by name where they are as frequent."""
    counts = Counter(_category(value) for value in values if value is not None)
    frequent = [name for name, count in counts.items() if count >= params["min_frequency"]]
    kept = sorted(sorted(frequent, key=lambda name: (-counts[name], name))[: params["max_categories"]])
    others = counts.total() - sum(counts[name] for name in kept)
    note = {"categories": len(kept), "other_share": round(others / max(1, counts.total()), 4)}
    encoder = OneHotEncoder(
        categories=[np.array(kept or [""], dtype=object)],
        handle_unknown="ignore",
        sparse_output=False,
        dtype=np.float32,
    )
    return encoder.fit(np.array([[(kept or [""])[0]]], dtype=object)), note


def _encode_categories(values: Values, part: OneHotEncoder) -> NDArray[Any]:
    """A column for each category that is told apart, then `other`, then gaps."""
    gaps = _gaps(values)
    names = np.array([["" if value is None else _category(value)] for value in values], dtype=object)
    known = part.transform(names) * (1 - gaps)
    return np.hstack([known, 1 - gaps - known.sum(axis=1, keepdims=True), gaps])


def _category(value: str | float) -> str:
    """Values that are the same in JSON and in CSV are the same category."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _fit_dates(values: Values, _: Mapping[str, Any]) -> tuple[Pipeline, dict[str, Any]]:
    return _fit_columns(_moments(_times(values))), {}


def _encode_dates(values: Values, part: Pipeline) -> NDArray[Any]:
    """The time and the year, then sine and cosine of month, weekday and hour, zeros for gaps, then gaps."""
    times = _times(values)
    places = np.array([_places(time) for time in times], dtype=np.float64)
    angles = 2 * np.pi * places / np.array(_CYCLES)
    gaps = _gaps(values)
    cycles = np.hstack([np.sin(angles), np.cos(angles)]).astype(np.float32) * _HALF * (1 - gaps)
    return np.hstack([_standardised(_moments(times), part), cycles, gaps])


def _times(values: Values) -> list[datetime | None]:
    return [None if value is None else _time(value) for value in values]


def _time(value: str) -> datetime:
    """In UTC, as which a time without an offset is read."""
    time = datetime.fromisoformat(value.upper())
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _moments(times: Sequence[datetime | None]) -> NDArray[np.float64]:
    """Seconds since 1970, and years [n, 2]."""
    gap = (np.nan, np.nan)
    return np.array([gap if time is None else (time.timestamp(), time.year) for time in times], dtype=np.float64)


def _places(time: datetime | None) -> tuple[float, float, float]:
    """Where in a year, a week and a day."""
    return (0.0, 0.0, 0.0) if time is None else (time.month - 1, time.weekday(), time.hour + time.minute / 60)


def _fit_texts(values: Values, params: Mapping[str, Any]) -> tuple[Pipeline, dict[str, Any]]:
    """TF-IDF, condensed to latent dimensions; random directions of the terms where rows are too few to learn any."""
    counts = _counts(values)
    return Pipeline(learn_terms(counts, params["latent"]).steps(counts, "latent")), {}


def _encode_texts(values: Values, part: Pipeline) -> NDArray[Any]:
    made: NDArray[Any] = part.transform(_counts(values))
    return made


def _counts(values: Values) -> Any:
    return featurize(("" if value is None else value for value in values), _TERMS)


_KINDS: Mapping[str, _Kind] = {
    "number": _Kind(_fit_numbers, _encode_numbers, Pipeline, 1.5),
    "category": _Kind(_fit_categories, _encode_categories, OneHotEncoder, "a"),
    "date": _Kind(_fit_dates, _encode_dates, Pipeline, "2000-01-01T00:00:00"),
    "text": _Kind(_fit_texts, _encode_texts, Pipeline, "some words"),
}
