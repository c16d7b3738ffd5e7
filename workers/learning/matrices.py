"""How the learning core sees arrays: a matrix in memory, or a reader over one that lives in chunks."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

Matrix: TypeAlias = NDArray[np.float32] | csr_array

Rows: TypeAlias = NDArray[np.int64]

GRID = 65_536
"""Scores are computed on blocks of this many rows, whatever the chunks, so that ranks can be reproduced."""

TILE = 8_192
"""Predictions and scores are computed for this many rows at once: a divisor of `GRID`, for a core's cache."""

_BITS = 64  # of a row's number


class ChunkReader(Protocol):
    """One array of a project by row number. Holes (deleted rows) are zeros. joblib can serialise it."""

    @property
    def rows(self) -> int:
        """The high-water mark: rows [0, rows) exist."""
        ...

    @property
    def columns(self) -> int:
        """The width."""
        ...

    def read(self, start: int, stop: int) -> Matrix:
        """Rows [start, stop): a view of mapped memory, or a CSR slice. Not to be written to."""
        ...

    def take(self, rows: Rows) -> Matrix:
        """The named rows, in the order given."""
        ...


@dataclass(frozen=True, slots=True)
class ArrayReader:
    """A `ChunkReader` over one matrix in memory."""

    array: Matrix

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.array.shape[0])

    @property
    def columns(self) -> int:
        """Number of columns."""
        return int(self.array.shape[1])

    def read(self, start: int, stop: int) -> Matrix:
        """Rows [start, stop) of the matrix."""
        return self.array[start:stop]

    def take(self, rows: Rows) -> Matrix:
        """The named rows, in the order given."""
        return self.array[rows]


def grid(stop: int, start: int = 0, step: int | None = None) -> list[tuple[int, int]]:
    """The blocks that cover rows [start, stop), cut at multiples of `step`, which is `GRID` unless given."""
    step = step or GRID
    cuts = [start, *range((start // step + 1) * step, stop, step), stop]
    return list(pairwise(cuts)) if start < stop else []


class Part(NamedTuple):
    """Distinct rows, ascending, of [start, stop). Many are a bitmap where they are sent elsewhere."""

    start: int
    stop: int
    rows: Rows

    def __reduce__(self) -> tuple[Any, ...]:
        if self.rows.size * _BITS < self.stop - self.start:
            return Part, (self.start, self.stop, self.rows)
        inside = np.zeros(self.stop - self.start, dtype=np.bool_)
        inside[self.rows - self.start] = True
        return _unpacked, (self.start, self.stop, np.packbits(inside))


def _unpacked(start: int, stop: int, bits: NDArray[np.uint8]) -> Part:
    inside = np.unpackbits(bits, count=stop - start).view(np.bool_)
    return Part(start, stop, start + np.flatnonzero(inside))


def occupied(rows: Rows, stop: int) -> list[Part]:
    """The blocks of the grid over [0, stop) that hold any of `rows`, which are distinct and ascending."""
    parts = [Part(first, last, rows[slice(*np.searchsorted(rows, [first, last]))]) for first, last in grid(stop)]
    return [part for part in parts if part.rows.size]


def is_sparse(matrix: Matrix) -> bool:
    """Whether `matrix` is stored sparse."""
    return bool(issparse(matrix))


def sample_rows(reader: ChunkReader, candidates: NDArray[np.bool_], count: int, rng: np.random.Generator) -> Matrix:
    """At most `count` rows of the candidates, drawn by `rng`: the background that estimators learn scales from."""
    rows = np.flatnonzero(candidates)
    if rows.size > count:
        rows = np.sort(rng.choice(rows, size=count, replace=False))
    return reader.take(rows)


def numbers(P: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities `P`, all of which are numbers.

    Raises:
        FloatingPointError: when one is not.
    """
    if not np.isfinite(P.sum(dtype=np.float32)):
        raise FloatingPointError("The model gives probabilities that are not numbers.")
    return P
