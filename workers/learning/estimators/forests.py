"""Forests of randomised trees."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from workers.learning.estimators.base import Implementation
from workers.learning.estimators.preprocessing import Form, Preprocessed

Forest = type[RandomForestClassifier] | type[ExtraTreesClassifier]


def fit_forest(
    prepared: Preprocessed, y: NDArray[np.int64], params: Mapping[str, Any], seed: int, *, kind: Forest
) -> tuple[Any, dict[str, Any]]:
    """Grow the forest on one core; jobs run beside each other instead."""
    forest = kind(
        n_estimators=params.get("n_estimators", 100),
        max_depth=params.get("max_depth"),
        min_samples_leaf=params.get("min_samples_leaf", 1),
        class_weight=params.get("class_weight"),
        random_state=np.random.RandomState(seed % 2**32),
        n_jobs=1,
    )
    forest.fit(prepared.X, y)
    return forest, {}


# Trees do not care for the units of a column. Their nodes are arrays of numbers, whose class runs nothing but follows
# them: `soundness` sees that they lead nowhere else.
_FORM, _TRUSTED = Form(scaled=False), ("sklearn.tree._tree.Tree",)

RANDOM_FOREST = Implementation(partial(fit_forest, kind=RandomForestClassifier), _FORM, _TRUSTED)
"""Bootstrap samples and the best of some splits at each node (Breiman 2001)."""

EXTRA_TREES = Implementation(partial(fit_forest, kind=ExtraTreesClassifier), _FORM, _TRUSTED)
"""All rows and the best of random splits (Geurts et al. 2006)."""
