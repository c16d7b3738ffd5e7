"""Stratified folds that cope with rare classes, and keep groups together."""

import numpy as np
from numpy.typing import NDArray


def stratified_folds(
    y: NDArray[np.int64], count: int, rng: np.random.Generator, groups: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """The fold [n] of each row, in [0, count): every class is dealt out evenly, and so are the fold sizes.

    Of `groups` [n] each is dealt as a whole, by its most frequent class, the largest first; fewer groups than folds
    leave folds empty.

    scikit-learn's StratifiedKFold warns about classes with fewer rows than folds; here they are simply in fewer folds.
    """
    if groups is None:
        return _dealt(y, count, rng.permutation(y.size))
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    shuffled = rng.permutation(sizes.size)
    largest_first = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    return _dealt(_most_frequent(y, group), count, largest_first)[group]


def _dealt(strata: NDArray[np.int64], count: int, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Deal each stratum out in an order."""
    by_class = order[np.argsort(strata[order], kind="stable")]
    folds = np.empty(strata.size, dtype=np.int64)
    folds[by_class] = np.arange(strata.size) % count
    return folds


def _most_frequent(y: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most frequent class [groups] of each group, which `group` [n] numbers from 0; of several the first."""
    cells, counts = np.unique(np.column_stack([group, -y]), axis=0, return_counts=True)
    order = np.lexsort((cells[:, 1], counts, cells[:, 0]))
    last = np.flatnonzero(np.diff(cells[order, 0], append=-1))
    classes: NDArray[np.int64] = -cells[order[last], 1]
    return classes


def group_count(groups: NDArray[np.int64] | None, rows: int) -> int:
    """How many parts there are that folds can be made of: groups, or rows by themselves."""
    return rows if groups is None else int(np.unique(groups).size)
