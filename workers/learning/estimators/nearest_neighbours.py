"""Votes of the nearest labelled rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from workers.learning.estimators.base import Implementation
from workers.learning.estimators.preprocessing import Form, Preprocessed


def fit_nearest_neighbours(
    prepared: Preprocessed,
    y: NDArray[np.int64],
    params: Mapping[str, Any],
    seed: int,  # noqa: ARG001  # nothing is random
) -> tuple[KNeighborsClassifier, dict[str, Any]]:
    """Keep the rows (Cover and Hart 1967); each prediction is O(n d).

    Without a tree, which would order equal distances otherwise and gains nothing in many dimensions.
    """
    neighbours = min(params.get("n_neighbors", 10), y.size)
    model = KNeighborsClassifier(
        n_neighbors=neighbours,
        weights=params.get("weights", "distance"),
        metric=params.get("metric", "euclidean"),
        algorithm="brute",
        n_jobs=1,
    )
    model.fit(prepared.X, y)
    return model, {"n_neighbors": neighbours}


KNN = Implementation(fit_nearest_neighbours, Form(text="latent"))
