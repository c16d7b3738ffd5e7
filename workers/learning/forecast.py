"""How many labels a target takes, by an inverse power law through the learning curve.

Figueroa, Zeng-Treitler, Kandula and Ngo 2012, "Predicting sample size required for classification performance", BMC
Medical Informatics and Decision Making 12:8: y = a - b x^-c, by least squares in which later points weigh more.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Reason = Literal["too_few_points", "flat", "unreachable"]

_FEWEST = 5
_MOST = 100  # the last points tell most
_RESAMPLES = 500
_FLAT = 0.1
_POWERS = np.arange(1, 41) / 20
_CEILING = 1.0
_BEYOND = 1e9


@dataclass(frozen=True, slots=True)
class Curve:
    """A learning curve of a figure that is better when higher, and at most 1.

    Attributes:
        sizes: labels, rising [m].
        values: the figure [m].
        deviations: its standard deviation [m].
    """

    sizes: NDArray[np.float64]
    values: NDArray[np.float64]
    deviations: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Labels in all at which the target is reached, with a 95 % interval, or the reason why nobody can tell.

    `low` and `high` may be infinite.
    """

    labels: float | None
    low: float | None = None
    high: float | None = None
    reason: Reason | None = None


def forecast(curve: Curve, target: float, rng: np.random.Generator) -> Forecast:
    """When the curve reaches the target.

    The interval is that of laws through curves whose points are drawn anew from their deviations (a parametric
    bootstrap). Points that were measured on the same rows go up and down together, so it is rather too wide.
    """
    if curve.sizes.size < _FEWEST:
        return Forecast(None, reason="too_few_points")
    sizes, values, deviations = (part[-_MOST:] for part in (curve.sizes, curve.values, curve.deviations))
    noise = deviations * rng.normal(size=(_RESAMPLES, sizes.size))
    a, b, c = _fit(sizes, np.vstack([values, values + noise]))
    if np.mean(b[1:] == 0) > _FLAT or b[0] == 0:
        return Forecast(None, reason="flat")
    needed = _needed(a, b, c, target)
    if not np.isfinite(needed[0]):
        return Forecast(None, reason="unreachable")
    low, high = np.quantile(needed[1:], [0.025, 0.975], method="nearest")
    return Forecast(float(needed[0]), float(min(low, needed[0])), float(max(high, needed[0])))


def _needed(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], target: float
) -> NDArray[np.float64]:
    """Where each law [r] reaches the target; infinite where it does not, or beyond a thousand million."""
    room = a - target
    with np.errstate(over="ignore"):
        found = np.divide(b, room, out=np.full(a.shape, np.inf), where=room > 0) ** (1 / c)
    return np.where(found > _BEYOND, np.inf, found)


def _fit(
    sizes: NDArray[np.float64], Y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """a, b and c [r] of the best law through each curve [r, m]: for each power of a grid a straight line, b >= 0."""
    weights = np.arange(1, sizes.size + 1) / sizes.size
    weights /= weights.sum()
    powers = sizes ** -_POWERS[:, np.newaxis]
    mean_z, mean_y = powers @ weights, Y @ weights
    covered = (Y * weights) @ powers.T - np.outer(mean_y, mean_z)
    b = np.maximum(-covered / ((powers**2) @ weights - mean_z**2), 0)
    a = mean_y[:, np.newaxis] + b * mean_z
    through_ceiling = np.maximum(((_CEILING - Y) * weights) @ powers.T, 0) / ((powers**2) @ weights)
    b = np.where(a > _CEILING, through_ceiling, b)
    a = np.minimum(a, _CEILING)
    errors = np.empty(a.shape)
    for place, z in enumerate(powers):
        errors[:, place] = (Y - a[:, place, np.newaxis] + b[:, place, np.newaxis] * z) ** 2 @ weights
    best = errors.argmin(axis=1)
    rows = np.arange(best.size)
    return a[rows, best], b[rows, best], _POWERS[best]
