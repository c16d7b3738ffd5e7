"""Random forest."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from workers.learning.estimators.preprocessing import Preprocessed


def fit_random_forest(
    prepared: Preprocessed, y: NDArray[np.int64], params: Mapping[str, Any], seed: int
) -> tuple[RandomForestClassifier, dict[str, Any]]:
    """Grow the forest (Breiman 2001) on one core; jobs run beside each other instead."""
    forest = RandomForestClassifier(
        n_estimators=params.get("n_estimators", 100),
        max_depth=params.get("max_depth"),
        min_samples_leaf=params.get("min_samples_leaf", 1),
        class_weight=params.get("class_weight"),
        random_state=np.random.RandomState(seed % 2**32),
        n_jobs=1,
    )
    forest.fit(prepared.X, y)
    return forest, {}
