"""Distances between examples: a dense, comparable form of features, and identical rows."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import diags_array
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd

from workers.learning.matrices import Matrix, is_sparse
from workers.learning.scaling import learn_units
from workers.learning.ties import splitmix64

DIMENSIONS = 64
"""Sparse rows are projected to this many latent dimensions before clustering."""

_ITERATIONS = 50


def comparable(X: Matrix, seed: int) -> NDArray[np.float32]:
    """`X` [n, d] as dense float32 rows whose Euclidean distance means likeness.

    Dense: centred and scaled (see `scaling.learn_units`). Sparse: weighted by IDF, brought to unit length and projected
    by a seeded truncated SVD, which is latent semantic analysis (Deerwester et al. 1990) where `X` counts terms.
    """
    if is_sparse(X):
        return _latent(X, seed)
    dense = np.asarray(X, dtype=np.float32)
    return learn_units(dense).apply(dense)


def _latent(X: Any, seed: int) -> NDArray[np.float32]:
    rows = X.shape[0]
    frequency = np.bincount(X.indices[X.data != 0], minlength=X.shape[1])
    # A term of one row tells nothing about likeness.
    columns = np.flatnonzero(frequency > 1)
    if columns.size == 0:
        return np.zeros((rows, 1), dtype=np.float32)
    idf = np.log((1.0 + rows) / (1.0 + frequency[columns])) + 1.0
    weighted = normalize(X[:, columns].astype(np.float64) @ diags_array(idf))
    if columns.size <= DIMENSIONS:
        return np.asarray(weighted.toarray(), dtype=np.float32)
    left, singular, _ = randomized_svd(weighted, min(DIMENSIONS, rows), random_state=seed % 2**32)
    return np.asarray(left * singular, dtype=np.float32)


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


def row_hashes(X: Matrix) -> NDArray[np.uint64]:
    """A 64-bit hash [n] of each row's content: equal rows have equal hashes."""
    if is_sparse(X):
        return _sparse_hashes(X)
    weights = splitmix64(np.arange(X.shape[1], dtype=np.uint64)) | np.uint64(1)
    hashes = np.zeros(X.shape[0], dtype=np.uint64)
    for column, weight in zip(np.asarray(X).T, weights, strict=True):
        hashes = splitmix64(hashes ^ (_bits(column) * weight))
    return hashes


def _sparse_hashes(X: Any) -> NDArray[np.uint64]:
    terms = splitmix64(_bits(X.data) + splitmix64(X.indices.astype(np.uint64)))
    terms[X.data == 0] = 0
    hashes = np.zeros(X.shape[0], dtype=np.uint64)
    np.add.at(hashes, np.repeat(np.arange(X.shape[0]), np.diff(X.indptr)), terms)
    return hashes


def _bits(values: NDArray[np.floating]) -> NDArray[np.uint64]:
    """The bit pattern of each value as float32; adding 0.0 makes -0.0 and 0.0 equal."""
    return (values.astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.uint64)
