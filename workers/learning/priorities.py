"""Priorities: what a person wants to be labelled first goes before what a strategy would pick."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.groups import best_of_group, first_of_group
from workers.learning.matrices import Rows


@dataclass(frozen=True, slots=True)
class Stage:
    """Rows that a strategy ranks among themselves: so many for the batch, then so many for the reserve.

    Attributes:
        rows: ascending.
        whole: all of them are taken, so that nothing is left to narrow down; they may be of several priorities.
    """

    rows: Rows
    batch: int
    reserve: int
    whole: bool = False


def stages(
    rows: Rows, priorities: NDArray[np.float64], groups: NDArray[np.int64] | None, *, batch: int, reserve: int
) -> Iterator[Stage]:
    """The stages in which `rows` (ascending) fill a batch and its reserve by their priorities [n], at most four.

    Of a group only rows of its highest priority take part, so that each group is in one stage. Priorities all of whose
    rows are needed are one stage; the one that has more than are needed is another.
    """
    if groups is not None:
        highest = best_of_group(groups[rows], priorities)
        rows, priorities = rows[highest], priorities[highest]
    counted = priorities if groups is None else priorities[first_of_group(groups[rows])]
    levels, counts = np.unique(-counted, return_counts=True)
    ends = np.cumsum(counts)
    level = np.searchsorted(levels, -priorities)
    next_level = filled = 0
    for limit in (batch, batch + reserve):
        whole = int(np.searchsorted(ends, limit, side="right"))
        if whole > next_level:
            count = int(ends[whole - 1]) - filled
            room = min(max(batch - filled, 0), count)
            yield Stage(rows[(level >= next_level) & (level < whole)], room, count - room, whole=True)
            next_level, filled = whole, filled + count
        if next_level < levels.size and filled < limit:
            room = max(batch - filled, 0)
            spare = min(int(counts[next_level]), batch + reserve - filled) - room
            yield Stage(rows[level == next_level], room, spare)
            next_level, filled = next_level + 1, filled + room + spare


def never_rising(scores: NDArray[np.float64], priorities: NDArray[np.float64], batch: int) -> NDArray[np.float64]:
    """Scores that agree with an order by priority [n], of which the first `batch` are the batch.

    In the batch, rows of a higher priority are lifted to the best that follows; the reserve is held down to its last.
    """
    borders = np.flatnonzero(priorities[1:] != priorities[:-1]) + 1
    held = (
        np.concatenate([np.minimum.accumulate(part) for part in np.split(scores, borders)]) if scores.size else scores
    )
    held[:batch] = np.maximum.accumulate(held[:batch][::-1])[::-1]
    if batch:
        held[batch:] = np.minimum(held[batch:], held[:batch].min(initial=np.inf))
    held[batch:] = np.minimum.accumulate(held[batch:])
    return held
