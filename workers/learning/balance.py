"""Batches in which every predicted class has its share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.learning.picks import Picks, joined


def quotas(labels: NDArray[np.int64], available: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """How many to pick of each class [classes]: one at a time to the class with the fewest labels and picks.

    Args:
        labels: of each class so far [classes].
        available: candidates that are predicted as each class [classes].
        count: of picks, at most `available.sum()`.

    Classes with equal numbers take turns in their order. A larger `count` never gives a class less.
    """
    # Levels are filled like vessels: the highest level that `count` can reach, then one each in class order.
    low, high = 0, int(labels.max(initial=0)) + count
    while low < high:
        level = (low + high + 1) // 2
        if np.clip(level - labels, 0, available).sum() <= count:
            low = level
        else:
            high = level - 1
    given = np.clip(low - labels, 0, available)
    next_in_turn = np.flatnonzero((given < available) & (labels + given == low))
    given[next_in_turn[: count - int(given.sum())]] += 1
    return given


def interleave(parts: Sequence[Picks], batches: NDArray[np.int64]) -> Picks:
    """The first `batches[i]` picks of each part in turns, then the others in turns."""
    place = np.concatenate([np.arange(part.rows.size) for part in parts])
    standby = np.concatenate([np.arange(part.rows.size) >= batch for part, batch in zip(parts, batches, strict=True)])
    order = np.lexsort((place, standby))
    return joined(parts).ordered(order)
