"""Stratified folds that cope with rare classes."""

import numpy as np
from numpy.typing import NDArray


def stratified_folds(y: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold [n] of each row, in [0, count): every class is dealt out evenly, and so are the fold sizes.

    scikit-learn's StratifiedKFold warns about classes with fewer rows than folds; here they are simply in fewer folds.
    """
    shuffled = rng.permutation(y.size)
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    folds = np.empty(y.size, dtype=np.int64)
    folds[by_class] = np.arange(y.size) % count
    return folds
