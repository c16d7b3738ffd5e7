from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from service.codecs.rows import ExampleRow, Row
from service.codecs.vectors import NO_VECTOR, Vectors, decode_vectors, not_finite
from service.errors import FieldError

BLOCK_ROWS = 1000
BLOCK_BYTES = 4 * 1024 * 1024

# a row as read: its line, its size in bytes as sent, and the row or what is wrong with it
Parsed = tuple[int, int, Row | FieldError]
Numbered = list[tuple[int, Row]]


@dataclass(frozen=True, slots=True)
class Block(Generic[Row]):
    """Up to BLOCK_ROWS consecutive rows of a body.

    Attributes:
        rows: The good rows, in order.
        lines: The line of each good row: a physical line of NDJSON and CSV, the position in a JSON document.
        vectors: The vectors of `rows`, aligned; None unless the project has vectors.
        errors: One error for each bad row, by line.
    """

    rows: list[Row]
    lines: list[int]
    vectors: Vectors | None
    errors: list[FieldError]

    @property
    def received(self) -> int:
        """How many rows were read."""
        return len(self.rows) + len(self.errors)


def group(parsed: Iterator[Parsed[Row]]) -> Iterator[tuple[Numbered[Row], list[FieldError]]]:
    """Gather rows and errors into groups that are bounded in rows and in bytes."""
    good: Numbered[Row] = []
    errors: list[FieldError] = []
    size = 0
    for line, row_size, row in parsed:
        if isinstance(row, FieldError):
            errors.append(replace(row, line=line))
        else:
            good.append((line, row))
        size += row_size
        if len(good) + len(errors) >= BLOCK_ROWS or size >= BLOCK_BYTES:
            yield good, errors
            good, errors, size = [], [], 0
    if good or errors:
        yield good, errors


class ExampleChecks:
    """What is checked of examples a block at a time: vectors, and ids that came before in the body."""

    def __init__(self, dimensions: int | None) -> None:
        self._dimensions = dimensions
        self._seen = SeenIds()

    def block(
        self, good: Numbered[ExampleRow], errors: list[FieldError], vectors: Vectors | None = None
    ) -> Block[ExampleRow]:
        """Decode the vectors of a group, unless they are given, and set its bad rows aside."""
        problems: dict[int, FieldError] = {}
        if vectors is not None:
            problems = not_finite(vectors.numbers)
        else:
            good = _without(good, self._vector_presence(good), errors)
            if self._dimensions is not None:
                values = [row.vector for _, row in good if row.vector is not UNSET]
                numbers, problems = decode_vectors(values, self._dimensions)
                vectors = Vectors.of(numbers)
        if vectors is not None and problems:
            vectors = vectors.without(list(problems))
        good = _without(good, problems, errors)
        duplicates = self._seen.add([row.id for _, row in good])
        if duplicates:
            vectors = None if vectors is None else vectors.without(duplicates)
            again = FieldError("/id", "duplicate_id", "The id came before in this body.")
            good = _without(good, dict.fromkeys(duplicates, again), errors)
        return finished(good, errors, vectors)

    def _vector_presence(self, good: Numbered[ExampleRow]) -> dict[int, FieldError]:
        if self._dimensions is None:
            problem = FieldError("/vector", "unknown_field", "The features of this project are not vectors.")
        else:
            problem = NO_VECTOR
        wanted = self._dimensions is not None
        return {i: problem for i, (_, row) in enumerate(good) if (row.vector is not UNSET) != wanted}


def finished(good: Numbered[Row], errors: list[FieldError], vectors: Vectors | None = None) -> Block[Row]:
    """The block of a group whose checks are done."""
    errors.sort(key=lambda error: error.line or 0)
    return Block([row for _, row in good], [line for line, _ in good], vectors, errors)


class SeenIds:
    """The ids of a body so far, as sorted 64-bit hashes: 8 bytes an id, where a set of strings takes over 100.

    Two ids of a body of ten million share a hash with a chance of 3 in a million; the hash is keyed per process, so
    nobody can look for such a pair.
    """

    def __init__(self) -> None:
        self._runs: list[NDArray[np.int64]] = []

    def add(self, ids: list[str]) -> list[int]:
        """Add ids; returns the positions of those that were there already, or stand twice in `ids`."""
        hashes = np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        repeated = np.zeros(len(ids), dtype=bool)
        repeated[order[1:]] = ordered[1:] == ordered[:-1]
        for run in self._runs:  # in order, as the places of neighbours are near to each other in memory
            near = np.minimum(np.searchsorted(run, ordered), len(run) - 1)
            repeated[order] |= run[near] == ordered
        self._store(ordered)
        return [int(i) for i in np.flatnonzero(repeated)]

    def _store(self, run: NDArray[np.int64]) -> None:
        # merging runs of like size keeps their number logarithmic
        if not len(run):
            return
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate((self._runs.pop(), run)))
        self._runs.append(run)


def without_repeated(good: Numbered[Row], seen: SeenIds, errors: list[FieldError]) -> Numbered[Row]:
    """The rows whose id is new to the body; the others become errors."""
    again = FieldError("/id", "duplicate_id", "The id came before in this body.")
    return _without(good, dict.fromkeys(seen.add([row.key for _, row in good]), again), errors)


def _without(good: Numbered[Row], problems: dict[int, FieldError], errors: list[FieldError]) -> Numbered[Row]:
    """The rows without those at the positions in `problems`, which become errors."""
    if not problems:
        return good
    for i, problem in problems.items():
        line, row = good[i]
        errors.append(replace(problem, line=line, id=row.key))
    return [item for i, item in enumerate(good) if i not in problems]
