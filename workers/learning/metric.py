"""A measured figure."""

import math
from dataclasses import dataclass, replace

Z = 1.959964
"""Half the width of a 95 % interval of the normal distribution, in deviations."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure with its 95 % interval, measured on `n` rows."""

    value: float
    low: float
    high: float
    n: int


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): stays within [0, 1] and is never empty."""
    share, z2 = successes / n, Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def flawless(metric: Metric) -> Metric:
    """A figure of rows that are all right, of which resampling sees no errors: its interval is that of their share."""
    low, high = wilson_interval(metric.n, metric.n)
    return replace(metric, low=min(low, metric.low), high=max(high, metric.high))
