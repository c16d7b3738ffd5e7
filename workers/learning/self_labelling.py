"""From which score on a model may label by itself.

Thresholds are tested in a fixed sequence, from the highest down, until one does not show the precision that is wanted:
Angelopoulos, Bates, Candès, Jordan and Lei 2021, "Learn then Test: Calibrating Predictive Algorithms to Achieve Risk
Control", arXiv 2110.01052 (fixed sequence testing with several starts). The rows above a fixed threshold are as many
independent draws, so their number of right labels is binomial, and the test is exact (Clopper and Pearson 1934).

So that the sequence is fixed before any label is looked at, the thresholds are quantiles of the scores of the pool.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

_STEPS = 100  # thresholds, one for each hundredth of the pool
_STARTS = (1.5, 3.0, 6.0)  # with so many times the fewest rows that can show the precision


@dataclass(frozen=True, slots=True)
class Certified:
    """A threshold whose precision is shown.

    Attributes:
        threshold: scores from which on labels are made.
        right: labelled rows above it whose predicted class is right.
        n: labelled rows above it.
        low: the precision is at least this, at the level that was asked for, whatever the number of thresholds.
        high: and at most this.
    """

    threshold: float
    right: int
    n: int
    low: float
    high: float


def fewest_rows(target: float, level: float) -> int:
    """How many rows, all of them right, can show a precision of `target` at a confidence `level`, both in (0, 1)."""
    return math.ceil(math.log(1 - level) / math.log(target) - 1e-9)


def clopper_pearson(right: int, n: int, alpha: float) -> tuple[float, float]:
    """The exact bounds of a share of `n`, each of which is wrong with a probability of at most `alpha`."""
    low = float(beta.ppf(alpha, right, n - right + 1)) if right else 0.0
    high = float(beta.ppf(1 - alpha, right + 1, n - right)) if right < n else 1.0
    return low, high


def certify(
    scores: NDArray[np.floating],
    right: NDArray[np.bool_],
    pool: NDArray[np.floating],
    *,
    target: float,
    level: float,
) -> Certified | None:
    """The lowest threshold of the pool above which a precision of at least `target` is shown; None: there is none.

    The chance that the precision above it is lower than the target is at most 1 - `level`. O((n + pool) log).

    Args:
        scores: of labelled rows that are as if drawn from the pool, and that the model has not learnt [n].
        right: whether their predicted class is their label [n].
        pool: scores of the rows that are to be labelled [m].
        target: the precision that is wanted, in (0, 1).
        level: the confidence that is wanted, in (0, 1).
    """
    thresholds = _thresholds(pool)
    starts = _starts(scores.size, thresholds.size, target, level)
    if not starts:
        return None
    above, hits = _count_from(scores, thresholds), _count_from(scores[right], thresholds)
    alpha = (1 - level) / len(starts)
    best = -1
    for start in starts:
        for step in range(start, thresholds.size):
            if clopper_pearson(int(hits[step]), int(above[step]), alpha)[0] < target:
                break
            best = max(best, step)
    if best < 0:
        return None
    low, high = clopper_pearson(int(hits[best]), int(above[best]), alpha)
    return Certified(float(thresholds[best]), int(hits[best]), int(above[best]), low, high)


def _count_from(scores: NDArray[np.floating], thresholds: NDArray[np.floating]) -> NDArray[np.int64]:
    """How many scores are at or above each threshold."""
    below: NDArray[np.int64] = np.searchsorted(np.sort(scores), thresholds, side="left")
    return scores.size - below


def _thresholds(pool: NDArray[np.floating]) -> NDArray[np.floating]:
    """The scores above which one hundredth, two hundredths, ... of the pool are, from the highest down."""
    if pool.size == 0:
        return pool
    places = np.ceil(np.arange(1, _STEPS + 1) / _STEPS * pool.size).astype(np.int64) - 1
    return np.sort(pool)[::-1][places]


def _starts(rows: int, steps: int, target: float, level: float) -> list[int]:
    """Where the sequence begins: as often as there are rows for, as each start costs some confidence.

    The first thresholds have too few rows above them to show anything.
    """
    for count in range(len(_STARTS), 0, -1):
        fewest = fewest_rows(target, 1 - (1 - level) / count)
        if steps and rows >= fewest * (_STARTS[count - 1] if count > 1 else 1.0):
            shares = [min(times * fewest / rows, 1.0) for times in _STARTS[:count]]
            return sorted({math.ceil(share * steps) - 1 for share in shares})
    return []
