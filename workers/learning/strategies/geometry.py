"""Distances between comparable rows, and clusters of them."""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

_ITERATIONS = 50


def k_means(
    X: NDArray[np.float32], clusters: int, seed: int, weights: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The cluster of each row [n] and the centres [clusters, d]; clusters may be empty where rows coincide."""
    k_means = KMeans(min(clusters, X.shape[0]), n_init=1, max_iter=_ITERATIONS, random_state=seed % 2**32)
    with warnings.catch_warnings():
        # It warns of empty clusters, which callers cope with.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = k_means.fit_predict(X, sample_weight=weights)
    return labels, k_means.cluster_centers_


def squared_distances(X: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared Euclidean distances [n, c] between the rows of `X` [n, d] and `centres` [c, d]."""
    squares: NDArray[np.float32] = X @ centres.T
    squares *= np.float32(-2)
    squares += np.einsum("ij,ij->i", X, X)[:, np.newaxis]
    squares += np.einsum("ij,ij->i", centres, centres)
    np.maximum(squares, 0, out=squares)
    return squares
