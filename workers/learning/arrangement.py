"""How a batch is put together from its parts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import Rows
from workers.learning.picks import Picks


@dataclass(frozen=True, slots=True)
class Arranged:
    """The parts in their final order; scores never rise."""

    rows: Rows
    scores: NDArray[np.float64]
    values: NDArray[np.float64]
    explore: NDArray[np.bool_]


def arrange(ranked: Picks, pinned: Picks, explored: Picks, room: int) -> Arranged:
    """Pinned rows first, then a batch of `room` rows with the explored spread evenly through it, then the reserve."""
    size = ranked.rows.size + explored.rows.size
    batch = min(room, size)
    is_explored = np.zeros(size, dtype=bool)
    if explored.rows.size:
        is_explored[((np.arange(explored.rows.size) + 0.5) * batch / explored.rows.size).astype(np.int64)] = True
    columns = []
    for best, random, first in zip(*map(_columns, (ranked, explored, pinned)), strict=True):
        column = np.empty(size, dtype=best.dtype)
        column[is_explored], column[~is_explored] = random, best
        columns.append(np.concatenate([first, column]))
    explore = np.concatenate([np.zeros(pinned.rows.size, dtype=bool), is_explored])
    rows, scores, values = columns
    return Arranged(rows, _never_rising(scores, explore, pinned.rows.size), values, explore)


def _columns(picks: Picks) -> tuple[NDArray[Any], ...]:
    return picks.rows, picks.scores, picks.values


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
