"""Gradient boosting over binned columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from workers.learning.estimators.base import Implementation
from workers.learning.estimators.preprocessing import Form, Preprocessed


def fit_boosting(
    prepared: Preprocessed, y: NDArray[np.int64], params: Mapping[str, Any], seed: int
) -> tuple[HistGradientBoostingClassifier, dict[str, Any]]:
    """Grow trees on the gradient of the log-loss (Friedman 2001; binned as by Ke et al. 2017); O(trees n d).

    All labels train: early stopping would set some aside.
    """
    model = HistGradientBoostingClassifier(
        max_iter=params.get("max_iter", 100),
        learning_rate=params.get("learning_rate", 0.1),
        max_leaf_nodes=params.get("max_leaf_nodes", 31),
        min_samples_leaf=params.get("min_samples_leaf", 5),
        l2_regularization=params.get("l2_regularization", 0.0),
        class_weight=params.get("class_weight"),
        early_stopping=False,
        random_state=np.random.RandomState(seed % 2**32),
    )
    model.fit(prepared.X, y)
    return model, {}


# A predictor is arrays of nodes and thresholds; `soundness` sees that they lead nowhere else.
HIST_GRADIENT_BOOSTING = Implementation(
    fit_boosting,
    Form(scaled=False, text="latent"),
    ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",),
)
