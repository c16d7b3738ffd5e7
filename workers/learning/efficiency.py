"""How much labelling a strategy saves, from the curves of many paired runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from workers.learning.curve import Curve, area_under, labels_to_reach

_RESAMPLES = 1_000
_LEVEL = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Difference:
    """A strategy's area under the curve less a baseline's, over paired seeds, with its 95 % bootstrap interval.

    Attributes:
        p: of the paired t test, two-sided; 1 when there are too few seeds to tell.
        wins: seeds in which the strategy was better, out of `n`; a tie counts half.
    """

    mean: float
    low: float
    high: float
    p: float
    wins: float
    n: int


@dataclass(frozen=True, slots=True)
class Reach:
    """Labels until the mean curve first has a share of the full-data score, and the saving against the baseline.

    Attributes:
        labels: None when it never does.
        baseline: the baseline's labels; None when it never does.
        saving: share of the baseline's labels that were not needed; negative when more were. None unless both do.
        low: the lower end of its 95 % bootstrap interval over seeds; None: in some resamples only the baseline gets
            there, and they are more than the interval leaves out.
        high: the upper end.
    """

    share: float
    labels: float | None
    baseline: float | None
    saving: float | None
    low: float | None
    high: float | None


def until(curve: Curve, budget: float) -> Curve:
    """The points up to `budget` labels."""
    return [point for point in curve if point[0] <= budget]


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean of curves that were measured at the same steps, as long as the shortest."""
    length = min(len(curve) for curve in curves)
    points = np.mean([curve[:length] for curve in curves], axis=0)
    return [(float(labels), float(score)) for labels, score in points]


def areas(curves: Sequence[Curve], budget: float) -> NDArray[np.float64]:
    """The area under each curve up to `budget` labels [n]."""
    return np.array([area_under(until(curve, budget)) for curve in curves])


def difference(areas: NDArray[np.float64], baseline: NDArray[np.float64], rng: np.random.Generator) -> Difference:
    """Compare areas [n] with those of a baseline [n], seed by seed."""
    gains = areas - baseline
    draws = gains[rng.integers(gains.size, size=(_RESAMPLES, gains.size))].mean(axis=1)
    low, high = np.quantile(draws, _LEVEL)
    wins = float(np.sum(gains > 0) + np.sum(gains == 0) / 2)
    return Difference(float(gains.mean()), float(low), float(high), _p_value(gains), wins, gains.size)


def _p_value(gains: NDArray[np.float64]) -> float:
    if gains.size <= 1 or np.ptp(gains) == 0:
        return 1.0 if gains.size <= 1 or gains[0] == 0 else 0.0
    return float(stats.ttest_1samp(gains, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P values corrected for their number (Holm 1979): as many tests, one chance of a false alarm."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.minimum(np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)), 1.0)
    held = np.empty_like(corrected)
    held[order] = corrected
    return [float(value) for value in held]


def reach(
    curves: Sequence[Curve], baseline: Sequence[Curve], full: Sequence[float], share: float, rng: np.random.Generator
) -> Reach:
    """Labels to reach `share` of the full-data scores (of each seed, as the curves), and what that saves."""
    targets = share * np.asarray(full)
    steps, scores = _stacked(curves)
    base_steps, base_scores = _stacked(baseline)

    def needed(seeds: NDArray[np.int64]) -> tuple[float | None, float | None]:
        target = float(targets[seeds].mean())
        ours = labels_to_reach(_curve(steps, scores, seeds), target)
        return ours, labels_to_reach(_curve(base_steps, base_scores, seeds), target)

    labels, by_baseline = needed(np.arange(len(curves)))
    if labels is None or not by_baseline:
        return Reach(share, labels, by_baseline, None, None, None)
    low, high = _interval(needed, len(curves), rng)
    return Reach(share, labels, by_baseline, 1 - labels / by_baseline, low, high)


def _interval(
    needed: Callable[[NDArray[np.int64]], tuple[float | None, float | None]], seeds: int, rng: np.random.Generator
) -> tuple[float | None, float]:
    savings = []
    for _ in range(_RESAMPLES):
        ours, by_baseline = needed(rng.integers(seeds, size=seeds))
        if by_baseline:
            savings.append(1 - ours / by_baseline if ours is not None else -math.inf)
    low, high = np.quantile(savings, _LEVEL, method="nearest")
    return float(low) if math.isfinite(low) else None, float(high)


def _stacked(curves: Sequence[Curve]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Labels and scores [seeds, steps], as long as the shortest curve."""
    length = min(len(curve) for curve in curves)
    points = np.array([curve[:length] for curve in curves], dtype=np.float64)
    return points[:, :, 0], points[:, :, 1]


def _curve(steps: NDArray[np.float64], scores: NDArray[np.float64], seeds: NDArray[np.int64]) -> Curve:
    means = zip(steps[seeds].mean(axis=0).tolist(), scores[seeds].mean(axis=0).tolist(), strict=True)
    return list(means)
