"""The two shapes of a strategy. A query composes them: see `workers.learning.selection`."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import ChunkReader, Rows


class Scorer(Protocol):
    """Ranks rows one by one, from their class probabilities and nothing else."""

    def score(self, P: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores [n] in [0, 1] of probabilities [n, classes]; higher = label sooner."""
        ...

    def value(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The figure that the strategy is named after [n], told from its score."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionRequest:
    """What a selector picks from.

    Attributes:
        features: the rows of the whole project.
        rows: candidates, ascending, each with other features than the rest; never empty.
        count: how many to pick, at most `rows.size`.
        batch: how many of these make the batch; the others stand by.
        labelled: rows that have labels, ascending; may be empty.
        scores: of the candidates, when a scorer has narrowed them [rows].
        seed: of every random choice.
    """

    features: ChunkReader
    rows: Rows
    count: int
    batch: int
    labelled: Rows
    seed: int
    scores: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Picks in order: positions into the candidates [count], and the strategy's figure for each [count]."""

    positions: NDArray[np.intp]
    values: NDArray[np.float64]


class Selector(Protocol):
    """Picks a set, so that its members complete each other."""

    @property
    def max_candidates(self) -> int:
        """The most candidates that it takes; the engine draws a seeded sample from a larger pool."""
        ...

    def select(self, request: SelectionRequest) -> Selection:
        """Pick exactly `request.count` distinct candidates."""
        ...
