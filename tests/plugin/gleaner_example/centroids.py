"""An estimator of a class of its own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin

from workers.learning.estimators.base import Implementation
from workers.learning.estimators.preprocessing import Form, Preprocessed


class Centroids(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The nearest mean of a class. All it keeps is arrays and a number, so that its file can run nothing."""

    def __init__(self, sharpness: float = 4.0) -> None:
        self.sharpness = sharpness

    def fit(self, X: Any, y: Any) -> "Centroids":
        """Take the means of rows `X` [n, d] by their codes `y` [n]."""
        self.classes_ = np.unique(y)
        self.means_ = np.stack([np.asarray(X[y == code].mean(axis=0)).ravel() for code in self.classes_])
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The softmax of minus the squared distances [n, classes], but for what all of a row's have in common."""
        nearness = 2 * np.asarray(X @ self.means_.T) - (self.means_**2).sum(axis=1)
        P: NDArray[np.float64] = softmax(self.sharpness * nearness, axis=1)
        return P


def fit_centroids(
    prepared: Preprocessed,
    y: NDArray[np.int64],
    params: Mapping[str, Any],
    seed: int,  # noqa: ARG001  # nothing is random
) -> tuple[Centroids, dict[str, Any]]:
    """Take the means; nothing is chosen."""
    return Centroids(params.get("sharpness", 4.0)).fit(prepared.X, y), {}


CENTROIDS = Implementation(fit_centroids, Form(text="latent"), trusted=("gleaner_example.centroids.Centroids",))
