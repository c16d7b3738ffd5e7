"""How many examples of a class are still to be found, told by a sample that was drawn at random.

The sample is without replacement, so the number of positives in it is hypergeometric, whatever strategy found the
others. Exact intervals turn its tails round, as Clopper and Pearson (1934) do for a binomial. That labelling may stop
once a recall is beyond doubt: Callaghan and Müller-Hansen 2020, "Statistical stopping criteria for automated screening
in systematic reviews", Systematic Reviews 9:273, doi 10.1186/s13643-020-01521-4.
"""

from collections.abc import Callable
from dataclasses import dataclass

from scipy.stats import hypergeom

_TAIL = 0.025
_ONE_TAIL = 0.05


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of one class.

    Attributes:
        pool: examples that the sample stands for.
        unlabelled: those without a label.
        found: labelled examples of the class, those of the sample included.
        drawn: the labelled sample.
        positives: those of the class in it.
        unasked: how many of the found are not of the pool: they were labelled whatever would be drawn.
    """

    pool: int
    unlabelled: int
    found: int
    drawn: int
    positives: int
    unasked: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RecallEstimate:
    """The share of the class that was found, and how many are left.

    Attributes:
        recall: within [0, 1].
        remaining: examples of the class without a label.
        at_least: the recall with 95 % confidence, of one look at the sample.
    """

    recall: Range
    remaining: Range
    at_least: float


def estimate_recall(counted: Counted) -> RecallEstimate | None:
    """What a sample tells of a class; None where nothing was drawn.

    Without any that are known or estimated there is nothing to miss: the recall is 1 then.
    """
    if counted.drawn == 0:
        return None
    known = counted.found - counted.unasked
    most = known + counted.unlabelled
    share = counted.positives / counted.drawn
    total = min(max(round(share * counted.pool), known), most)
    low, high = _fewest(counted, known, most, _TAIL), _most(counted, known, most, _TAIL)
    low, high = min(low, total), max(high, total)
    bound = _most(counted, known, most, _ONE_TAIL)
    return RecallEstimate(
        recall=Range(*(_share(counted.found, one + counted.unasked) for one in (total, high, low))),
        remaining=Range(float(total - known), float(low - known), float(high - known)),
        at_least=_share(counted.found, bound + counted.unasked),
    )


def _share(found: int, total: int) -> float:
    return found / total if total else 1.0


def _most(counted: Counted, known: int, most: int, tail: float) -> int:
    """The largest total under which so few positives in the sample are no rarer than `tail`."""
    return _last(known, most, lambda total: _at_most(counted, total) > tail)


def _fewest(counted: Counted, known: int, most: int, tail: float) -> int:
    """The smallest total under which so many positives in the sample are no rarer than `tail`."""
    return most - _last(0, most - known, lambda less: _at_least(counted, most - less) > tail)


def _at_most(counted: Counted, total: int) -> float:
    return float(hypergeom.cdf(counted.positives, counted.pool, total, counted.drawn))


def _at_least(counted: Counted, total: int) -> float:
    return float(hypergeom.sf(counted.positives - 1, counted.pool, total, counted.drawn))


def _last(first: int, last: int, holds: Callable[[int], bool]) -> int:
    """The last number of [first, last] for which `holds` does, which it does up to a point; `first` if for none."""
    while first < last:
        middle = (first + last + 1) // 2
        if holds(middle):
            first = middle
        else:
            last = middle - 1
    return first
