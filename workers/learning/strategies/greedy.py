"""Greedy selection at pool scale: farthest first and largest coverage first, exact without an n x n matrix.

Both rest on what makes lazy evaluation of greedy rules work (Minoux 1978, doi 10.1007/BFb0006528): a pick never raises
the figure of another candidate, so a figure that is out of date is an upper bound.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import grid
from workers.learning.parallel import Parallel
from workers.learning.strategies.base import Selection
from workers.learning.strategies.geometry import lifted, lowered, polar, row_squares

_LEAST_WORKING_SET = 4_096
_WORKING_SHARE = 64
_NUMBERS_AT_ONCE = 2**18
_COLUMNS_AT_ONCE = 2_048
_ROWS_A_TASK = 2_048
_WORTH_A_THREAD = 2**22
# Figures are compared by 20 bits of their mantissa, about six digits, so that the last bits of a sum decide nothing.
_UNCOMPARED_BITS = 3
# What is left of a gain below this share of the first is what float32 sums leave of nothing.
_ROUNDING = 1e-6
_LAST_TIE = np.int64(2**32 - 1)


class Measure(Protocol):
    """What the farthest candidate is the best by."""

    def __call__(
        self, squares: NDArray[np.float32], positions: NDArray[np.intp] | slice, picked: int
    ) -> NDArray[np.float32]:
        """Figures [m], at least 0 and never falling as a distance grows.

        Of the candidates at `positions`, at these squared distances to the nearest centre, after `picked` picks.
        """
        ...

    def ceiling(self, figure: float, before: int, picked: int) -> float:
        """The most that a figure of at most `figure` after `before` picks can be after `picked`, at its distance."""
        ...


@dataclass(frozen=True, slots=True)
class SquaredDistance:
    """The squared distance to the nearest centre itself: the k-center rule."""

    def __call__(
        self,
        squares: NDArray[np.float32],
        positions: NDArray[np.intp] | slice,  # noqa: ARG002 - other measures weigh candidates
        picked: int,  # noqa: ARG002 - and stages
    ) -> NDArray[np.float32]:
        """The squared distances [m]."""
        return squares

    def ceiling(self, figure: float, before: int, picked: int) -> float:  # noqa: ARG002 - the same at every stage
        """The figure itself."""
        return figure


def farthest_first(
    X: NDArray[np.float32],
    centres: NDArray[np.float32],
    *,
    count: int,
    ties: NDArray[np.uint64],
    measure: Measure | None = None,
    start: int | None = None,
    parallel: Parallel | None = None,
) -> Selection:
    """Pick, `count` times, the candidate with the greatest figure given all centres and picks before it.

    The candidates with the greatest figures are a working set that is kept up to date pick by pick. All others keep
    the figure of their last refresh, an upper bound; they are refreshed, with one matrix product for all picks since,
    only when the best of the working set falls below that bound. The picks are those of the naive rule, which reads
    the whole pool for each. O(n d (m + k)) operations for n candidates of d columns and m centres, few of the n d
    numbers read more than once per refresh; memory O(n).

    Args:
        X: candidates [n, d] in comparable form.
        centres: what is covered before the first pick [m, d]; m may be 0.
        count: how many to pick, at most n.
        ties: a random key per candidate [n]: of equal figures (to about six digits) the smallest comes first.
        measure: of the candidates; None: the squared distance.
        start: a candidate that is picked first whatever its figure.
        parallel: for blocks of rows.

    Returns:
        Positions, the figure of each pick at its time (NaN for `start`), and the figures of all after the last pick.
    """
    search = _Search(X, ties, measure or SquaredDistance(), parallel or Parallel())
    search.lower(centres)
    if start is not None:
        search.take(np.array([start]), [np.nan])
    while len(search.positions) < count:
        search.advance(count)
    standby = search.figures().astype(np.float64)
    return Selection(np.array(search.positions, dtype=np.intp), np.array(search.values, dtype=np.float64), standby)


@dataclass(slots=True)
class _Search:
    """The state of `farthest_first`."""

    X: NDArray[np.float32]
    ties: NDArray[np.uint64]
    measure: Measure
    parallel: Parallel
    positions: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    squares: NDArray[np.float32] = field(init=False)
    nearest: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        self.squares = row_squares(self.X)
        self.nearest = np.full(self.X.shape[0], np.inf, dtype=np.float32)

    def lower(self, centres: NDArray[np.float32]) -> None:
        """Take new centres into account for every candidate."""
        self.nearest = lowered(self.nearest, self.X, self.squares, centres, self.parallel)

    def take(self, positions: NDArray[np.intp], values: list[float]) -> None:
        """Add picks."""
        self.positions += positions.tolist()
        self.values += values
        self.lower(self.X[positions])

    def figures(self) -> NDArray[np.float32]:
        """The figures of all candidates as of the last refresh."""
        return self.measure(self.nearest, slice(None), len(self.positions))

    def advance(self, count: int) -> None:
        """Pick from a fresh working set until one outside it might be better."""
        before = len(self.positions)
        keys = _keys(self.figures(), self.ties)
        keys[self.positions] = -1
        size = max(_LEAST_WORKING_SET, keys.size // _WORKING_SHARE)
        members, rival = _greatest(keys, size)
        X, squares, nearest, ties = self.X[members], self.squares[members], self.nearest[members], self.ties[members]
        keys = keys[members]
        taken = keys < 0
        picked: list[int] = []
        values: list[float] = []
        while before + len(picked) < count:
            best = int(np.argmax(keys))
            if picked and keys[best] < max(self._bound(rival, before, before + len(picked)), np.int64(0)):
                break
            values.append(
                float(self.measure(nearest[best : best + 1], members[best : best + 1], before + len(picked))[0])
            )
            picked.append(best)
            taken[best] = True
            nearest = lowered(nearest, X, squares, X[best : best + 1])
            keys = _keys(self.measure(nearest, members, before + len(picked)), ties)
            keys[taken] = -1
        self.take(members[picked], values)

    def _bound(self, rival: np.int64, before: int, picked: int) -> np.int64:
        """The greatest key that a candidate outside the working set can have by now."""
        figure = _figure(rival)
        ceiling = self.measure.ceiling(figure, before, picked)
        return rival if ceiling == figure else _keys(np.array([ceiling], dtype=np.float32), None)[0]


def _greatest(keys: NDArray[np.int64], size: int) -> tuple[NDArray[np.intp], np.int64]:
    """Positions of the `size` greatest keys, ascending, and the greatest key of the rest (-1: there is no rest)."""
    if size >= keys.size:
        return np.arange(keys.size), np.int64(-1)
    order = np.argpartition(keys, keys.size - size - 1)
    return np.sort(order[keys.size - size :]), keys[order[keys.size - size - 1]]


def _keys(figures: NDArray[np.float32], ties: NDArray[np.uint64] | None) -> NDArray[np.int64]:
    """Whole numbers in the order of the rounded figures; of equal ones, the smallest tie is first (None: all are)."""
    # The bits of floats that are not negative are in the order of their values.
    rounded = np.maximum(figures, np.float32(0)).view(np.int32) >> _UNCOMPARED_BITS
    keys = rounded.astype(np.int64) << np.int64(32)
    keys |= _LAST_TIE if ties is None else _LAST_TIE - (ties >> np.uint64(32)).astype(np.int64)
    return keys


def _figure(key: np.int64) -> float:
    """The greatest figure with the rounding of this key."""
    bits = (max(int(key), 0) >> 32 << _UNCOMPARED_BITS) | (2**_UNCOMPARED_BITS - 1)
    return float(np.array([bits], dtype=np.int32).view(np.float32)[0])


class Kernel(Protocol):
    """Likeness by distance. joblib can serialise it."""

    def __call__(self, squares: NDArray[np.float32]) -> NDArray[np.float32]:
        """Likeness in [0, 1], never rising with the squared distances (some a little below 0); may overwrite these."""
        ...


@dataclass(frozen=True, slots=True)
class Gaussian:
    """exp(-distance² / (2 bandwidth²))."""

    bandwidth: float

    def __call__(self, squares: NDArray[np.float32]) -> NDArray[np.float32]:
        """Likeness, in the place of the squared distances."""
        squares *= np.float32(-0.5 / self.bandwidth**2)
        return np.exp(squares, out=squares)


@dataclass(frozen=True, slots=True)
class Ball:
    """1 within the radius, 0 beyond."""

    radius: float

    def __call__(self, squares: NDArray[np.float32]) -> NDArray[np.float32]:
        """Likeness."""
        return (squares <= np.float32(self.radius**2)).astype(np.float32)


def herd(
    X: NDArray[np.float32],
    reference: NDArray[np.float32],
    *,
    kernel: Kernel,
    count: int,
    ties: NDArray[np.uint64],
    weights: NDArray[np.float64] | None = None,
    centres: NDArray[np.float32] | None = None,
    parallel: Parallel | None = None,
) -> Selection:
    """Pick, `count` times, the candidate that adds most to the generalised coverage of the reference points.

    The coverage of a set S is sum_j w_j max_{s in S} k(s, r_j) (Bae et al. 2024, arXiv 2407.12212); it is submodular.
    A pick changes the gains of others only by the reference points that it covers better than all before, about m/t of
    m at the t-th pick: these columns alone keep all gains exact, O(n m d log k) in all instead of O(n m d k), and no
    n x m matrix is kept.

    Args:
        X: candidates [n, d] in comparable form.
        reference: what is to be covered [m, d].
        kernel: likeness by distance.
        count: how many to pick, at most n.
        ties: a random key per candidate [n]: of equal gains (to about six digits) the smallest comes first.
        weights: of the reference points [m], not negative; None: all the same.
        centres: what covers before the first pick [l, d].
        parallel: for blocks of rows.

    Returns:
        Positions, the gain of each pick as a share of the weight of all reference points, and the gains left to all.
    """
    importance = np.ones(reference.shape[0], dtype=np.float32) if weights is None else weights.astype(np.float32)
    columns = _Columns(lifted(X), kernel, parallel or Parallel())
    opposite = polar(reference)
    cover = _covered(reference, centres, kernel)
    gains = columns.gained(opposite, importance, cover, np.ones_like(cover))
    noise = _ROUNDING * gains
    positions, values = np.empty(count, dtype=np.intp), np.empty(count)
    for step in range(count):
        keys = _keys(gains.astype(np.float32), ties)
        keys[positions[:step]] = -1
        best = int(np.argmax(keys))
        positions[step], values[step] = best, gains[best]
        likeness = np.minimum(kernel(opposite @ columns.X[best]), 1)  # rounding can make a squared distance negative
        better = np.flatnonzero((likeness > cover) & (importance > 0))
        if better.size:
            lost = columns.gained(opposite[better], importance[better], cover[better], likeness[better])
            gains -= lost
            gains[gains < noise] = 0.0
            cover[better] = likeness[better]
    whole = max(float(importance.sum(dtype=np.float64)), np.finfo(np.float64).tiny)
    return Selection(positions, values / whole, standby=gains / whole)


def _covered(
    reference: NDArray[np.float32], centres: NDArray[np.float32] | None, kernel: Kernel
) -> NDArray[np.float32]:
    """How well each reference point is covered [m]."""
    if centres is None or centres.shape[0] == 0:
        return np.zeros(reference.shape[0], dtype=np.float32)
    nearest = np.full(reference.shape[0], np.inf, dtype=np.float32)
    return kernel(lowered(nearest, reference, row_squares(reference), centres))


@dataclass(frozen=True, slots=True)
class _Columns:
    """Candidates, lifted, and what they would gain at some reference points."""

    X: NDArray[np.float32]
    kernel: Kernel
    parallel: Parallel

    def gained(
        self,
        opposite: NDArray[np.float32],
        weights: NDArray[np.float32],
        low: NDArray[np.float32],
        high: NDArray[np.float32],
    ) -> NDArray[np.float64]:
        """The weighted likeness [n] of each candidate that lies between `low` and `high` [m]."""
        rows = self.X.shape[0]
        blocks = grid(rows, 0, _ROWS_A_TASK)
        work = _Gained(self.X, self.kernel, opposite, weights, low, high)
        parallel = self.parallel if rows * opposite.shape[0] >= _WORTH_A_THREAD else Parallel()
        return np.concatenate(list(parallel.map(work, blocks)))


@dataclass(frozen=True, slots=True)
class _Gained:
    """`_Columns.gained` of a block of candidates."""

    X: NDArray[np.float32]
    kernel: Kernel
    opposite: NDArray[np.float32]
    weights: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    def __call__(self, block: tuple[int, int]) -> NDArray[np.float64]:
        start, stop = block
        gained = np.zeros(stop - start)
        width = min(self.opposite.shape[0], _COLUMNS_AT_ONCE)
        size = _NUMBERS_AT_ONCE // width
        for column in range(0, self.opposite.shape[0], width):
            some = slice(column, column + width)
            opposite, weights = self.opposite[some].T, self.weights[some]
            low, high = self.low[some], self.high[some]
            for row in range(start, stop, size):
                likeness = self.kernel(self.X[row : min(row + size, stop)] @ opposite)
                np.minimum(likeness, high, out=likeness)
                np.maximum(likeness, low, out=likeness)
                likeness -= low
                gained[row - start : row - start + size] += likeness @ weights
        return gained
