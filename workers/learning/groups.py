"""At most one example of each group: of the sentences of a document, say, of which one tells much of the others."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import Rows
from workers.learning.ties import random_subset, shuffled, tie_keys


def first_of_group(groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which places [n] are the first of their group."""
    first = np.zeros(groups.size, dtype=bool)
    first[np.unique(groups, return_index=True)[1]] = True
    return first


def best_of_group(groups: NDArray[np.int64], figures: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which places [n] have the highest figure of their group; several where it is the same."""
    _, inverse = np.unique(groups, return_inverse=True)
    best = np.full(int(inverse.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(best, inverse, figures)
    is_best: NDArray[np.bool_] = figures == best[inverse]
    return is_best


def in_groups_of(groups: NDArray[np.int64] | None, rows: Rows, others: Rows) -> NDArray[np.bool_]:
    """Which `rows` [n] share a group with any of the `others`; none do without groups."""
    if groups is None or others.size == 0:
        return np.zeros(rows.size, dtype=bool)
    return np.isin(groups[rows], groups[others])


def one_of_each(rows: Rows, groups: NDArray[np.int64] | None, seed: int) -> Rows:
    """Of each group one of `rows`, drawn at random, in their given order; all of them without groups."""
    if groups is None:
        return rows
    order = np.argsort(tie_keys(rows, seed, purpose="group"))
    return rows[np.sort(order[first_of_group(groups[rows[order]])])]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Rows drawn at random [n], and with which probability each was drawn [n]."""

    rows: Rows
    propensities: NDArray[np.float64]

    def propensities_of(self, rows: Rows) -> NDArray[np.float64]:
        """Of drawn rows in another order."""
        order = np.argsort(self.rows)
        return self.propensities[order[np.searchsorted(self.rows[order], rows)]]


def draw(rows: Rows, groups: NDArray[np.int64] | None, count: int, seed: int) -> Drawn:
    """`count` of `rows` in random order: of groups drawn uniformly, one row of each, drawn uniformly, too."""
    every = one_of_each(rows, groups, seed) if count else rows
    drawn = shuffled(random_subset(every, count, seed, purpose="explore"), seed)
    share = drawn.size / max(every.size, 1)
    if groups is None or drawn.size == 0:
        return Drawn(drawn, np.full(drawn.size, share))
    codes, sizes = np.unique(groups[rows], return_counts=True)
    return Drawn(drawn, share / sizes[np.searchsorted(codes, groups[drawn])])
