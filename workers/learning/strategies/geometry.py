"""Distances between comparable rows, and clusters of them."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from workers.learning.matrices import grid
from workers.learning.parallel import Parallel

_ITERATIONS = 50
_FITTED = 20_000
_ROWS_A_TASK = 65_536
_CENTRES_AT_ONCE = 256
_NUMBERS_AT_ONCE = 2**18  # 1 MiB: what is computed next is still in the cache


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


def sampled_k_means(
    X: NDArray[np.float32], clusters: int, seed: int, parallel: Parallel
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The cluster [n] of each row `X` [n, d] and its squared distance [n] to the centre, at pool scale.

    The centres are those of k-means on at most 20,000 rows, drawn at random; all rows then go to the nearest. The mean
    squared distance is within about clusters / 20,000 of that of a fit on all rows.
    """
    sample = X
    if X.shape[0] > _FITTED:
        sample = X[np.sort(np.random.default_rng(seed).choice(X.shape[0], _FITTED, replace=False))]
    _, centres = k_means(sample, clusters, seed)
    blocks = grid(X.shape[0], 0, _ROWS_A_TASK)
    found = list(parallel.map(_Assigned(X, centres), blocks))
    return np.concatenate([cluster for cluster, _ in found]), np.concatenate([squares for _, squares in found])


@dataclass(frozen=True, slots=True)
class _Assigned:
    """The nearest centre of each row of a block, and its squared distance."""

    X: NDArray[np.float32]
    centres: NDArray[np.float32]

    def __call__(self, block: tuple[int, int]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        start, stop = block
        cluster = np.empty(stop - start, dtype=np.int32)
        squares = np.empty(stop - start, dtype=np.float32)
        size = max(_NUMBERS_AT_ONCE // self.centres.shape[0], 1)
        for row in range(start, stop, size):
            last = min(row + size, stop)
            distances = squared_distances(self.X[row:last], self.centres)
            nearest = distances.argmin(axis=1)
            cluster[row - start : last - start] = nearest
            squares[row - start : last - start] = distances[np.arange(nearest.size), nearest]
        return cluster, squares


def squared_distances(X: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared Euclidean distances [n, c] between the rows of `X` [n, d] and `centres` [c, d]."""
    squares: NDArray[np.float32] = X @ centres.T
    squares *= np.float32(-2)
    squares += row_squares(X)[:, np.newaxis]
    squares += row_squares(centres)
    np.maximum(squares, 0, out=squares)
    return squares


def lifted(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows [n, d + 2] whose products with `polar` rows are squared distances, but for rounding: some are below 0."""
    return np.column_stack([X, row_squares(X), np.ones(X.shape[0], dtype=np.float32)])


def polar(centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """The other side of `lifted` [c, d + 2]: one product, no more passes over the distances."""
    return np.column_stack([-2 * centres, np.ones(centres.shape[0], dtype=np.float32), row_squares(centres)])


def row_squares(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """The squared length of each row [n]."""
    squares: NDArray[np.float32] = np.einsum("ij,ij->i", X, X)
    return squares


def lowered(
    nearest: NDArray[np.float32],
    X: NDArray[np.float32],
    squares: NDArray[np.float32],
    centres: NDArray[np.float32],
    parallel: Parallel | None = None,
) -> NDArray[np.float32]:
    """Squared distances `nearest` [n] of rows `X` [n, d], with squared lengths [n], after more `centres` [c, d]."""
    if centres.shape[0] == 0:
        return nearest
    work = _ToNearest(X, squares, centres)
    rows = X.shape[0]
    if parallel is None or rows <= _ROWS_A_TASK:
        found = work((0, rows))
    else:
        found = np.concatenate(list(parallel.map(work, grid(rows, 0, _ROWS_A_TASK))))
    return np.minimum(nearest, found, out=found)


@dataclass(frozen=True, slots=True)
class _ToNearest:
    """Squared distances of a block of rows to the nearest of some centres."""

    X: NDArray[np.float32]
    squares: NDArray[np.float32]
    centres: NDArray[np.float32]

    def __call__(self, block: tuple[int, int]) -> NDArray[np.float32]:
        start, stop = block
        closest = np.full(stop - start, -np.inf, dtype=np.float32)
        for first in range(0, self.centres.shape[0], _CENTRES_AT_ONCE):
            centres = self.centres[first : first + _CENTRES_AT_ONCE]
            lengths = row_squares(centres)[:, np.newaxis]
            doubled = 2 * centres
            size = _NUMBERS_AT_ONCE // max(centres.shape[0], 16)
            for row in range(start, stop, size):
                # |x - c|^2 = |x|^2 - (2 x.c - |c|^2): one product for many centres reads the rows once.
                products = doubled @ self.X[row : min(row + size, stop)].T
                products -= lengths
                part = closest[row - start : row - start + size]
                np.maximum(part, products.max(axis=0), out=part)
        np.subtract(self.squares[start:stop], closest, out=closest)
        return np.maximum(closest, np.float32(0), out=closest)
