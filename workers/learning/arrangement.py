"""How a batch is put together from its parts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import Rows

_Part = tuple[Rows, NDArray[np.float64], NDArray[np.float64]]
"""Rows in rank order with scores and values."""


@dataclass(frozen=True, slots=True)
class Arranged:
    """The parts in their final order; scores never rise."""

    rows: Rows
    scores: NDArray[np.float64]
    values: NDArray[np.float64]
    explore: NDArray[np.bool_]


def arrange(ranked: _Part, pinned: _Part, explored: _Part, room: int) -> Arranged:
    """Pinned rows first, then a batch of `room` rows with the explored spread evenly through it, then the reserve."""
    size = ranked[0].size + explored[0].size
    batch = min(room, size)
    is_explored = np.zeros(size, dtype=bool)
    if explored[0].size:
        is_explored[((np.arange(explored[0].size) + 0.5) * batch / explored[0].size).astype(np.int64)] = True
    columns = []
    for best, random, first in zip(ranked, explored, pinned, strict=True):
        column = np.empty(size, dtype=best.dtype)
        column[is_explored], column[~is_explored] = random, best
        columns.append(np.concatenate([first, column]))
    explore = np.concatenate([np.zeros(pinned[0].size, dtype=bool), is_explored])
    rows, scores, values = columns
    return Arranged(rows, _never_rising(scores, explore, pinned[0].size), values, explore)


def _never_rising(scores: NDArray[np.float64], explore: NDArray[np.bool_], pinned: int) -> NDArray[np.float64]:
    """Scores that agree with the order: who wants to sort by score gets the batch as it was ranked.

    Random rows take the score of the row before them, the reserve is held down to the batch's last, and pinned rows
    are lifted to the best.
    """
    held = np.where(explore | np.isnan(scores), np.inf, scores)
    held[pinned:] = np.minimum.accumulate(held[pinned:])
    finite = held[np.isfinite(held)]
    held[np.isinf(held)] = finite.max() if finite.size else 1.0
    lifted: NDArray[np.float64] = np.maximum.accumulate(held[::-1])[::-1]
    return lifted
