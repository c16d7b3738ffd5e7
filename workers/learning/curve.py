"""Learning curves: how many labels a strategy needs, and what that saves."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Curve = Sequence[tuple[float, float]]
"""(labels, score) in order of labels."""


@dataclass(frozen=True, slots=True)
class Saving:
    """The share of labels saved against a baseline; `at_least` when the baseline's budget ended before the target."""

    share: float
    at_least: bool

    def __str__(self) -> str:
        """As in `saving: 43 %` or `saving: ≥ 43 %`."""
        return f"{'≥ ' if self.at_least else ''}{round(100 * self.share)} %"


def labels_to_reach(curve: Curve, target: float) -> float | None:
    """The labels at the first point with at least the `target` score; None when there is none."""
    return next((labels for labels, score in curve if score >= target), None)


def saving(curve: Curve, baseline: Curve, target: float) -> Saving | None:
    """What `curve` saves against `baseline` on the way to `target`; None when `curve` never gets there.

    Negative when it needs more labels than the baseline.
    """
    needed = labels_to_reach(curve, target)
    if needed is None:
        return None
    by_baseline = labels_to_reach(baseline, target)
    return Saving(1 - needed / (by_baseline or baseline[-1][0]), by_baseline is None)


def area_under(curve: Curve) -> float:
    """The mean score over the labels of the curve (trapezoid rule)."""
    total = sum((n1 - n0) * (s0 + s1) / 2 for (n0, s0), (n1, s1) in pairwise(curve))
    return total / (curve[-1][0] - curve[0][0])
