"""A dense, comparable form of features, in which Euclidean distance means likeness; and the content of rows."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd

from workers.learning.matrices import Matrix, is_sparse
from workers.learning.scaling import Units, learn_units
from workers.learning.ties import splitmix64

DIMENSIONS = 64
"""Sparse rows are projected to this many latent dimensions."""

_AT_ONCE = 4_096


class Space(Protocol):
    """Turns features, as uploaded, into comparable rows. joblib can serialise it."""

    @property
    def dimensions(self) -> int:
        """Columns of `apply`."""
        ...

    def apply(self, X: Matrix) -> NDArray[np.float32]:
        """Comparable rows [n, dimensions] of rows `X` [n, d]."""
        ...


def learn_space(sample: Matrix, seed: int) -> Space:
    """Learn the space from a sample [n, d] of the rows to compare.

    Dense: centred and scaled (see `scaling.learn_units`). Sparse: weighted by IDF, brought to unit length and projected
    by a seeded truncated SVD, which is latent semantic analysis (Deerwester et al. 1990) where `X` counts terms.
    """
    if is_sparse(sample):
        return _learn_latent(sample, seed)
    return _Scaled(learn_units(np.asarray(sample, dtype=np.float32)))


@dataclass(frozen=True, slots=True)
class _Scaled:
    units: Units

    @property
    def dimensions(self) -> int:
        return int(self.units.mean.size)

    def apply(self, X: Matrix) -> NDArray[np.float32]:
        dense = np.asarray(X, dtype=np.float32)
        comparable = np.empty_like(dense)
        for start in range(0, dense.shape[0], _AT_ONCE):  # units are float64: all rows at once would take much memory
            comparable[start : start + _AT_ONCE] = self.units.apply(dense[start : start + _AT_ONCE])
        return comparable


@dataclass(frozen=True, slots=True)
class _Latent:
    """TF-IDF of the known `columns`, then `projection` [columns, dimensions] (None: the columns themselves)."""

    columns: NDArray[np.intp]
    idf: NDArray[np.float64]
    projection: NDArray[np.float64] | None

    @property
    def dimensions(self) -> int:
        return max(1, int(self.columns.size if self.projection is None else self.projection.shape[1]))

    def apply(self, X: Matrix) -> NDArray[np.float32]:
        if self.columns.size == 0:
            return np.zeros((X.shape[0], 1), dtype=np.float32)
        weighted = _weighted(X, self.columns, self.idf)
        if self.projection is None:
            return np.asarray(weighted.toarray(), dtype=np.float32)
        return np.asarray(weighted @ self.projection, dtype=np.float32)


def _learn_latent(X: Any, seed: int) -> _Latent:
    rows = X.shape[0]
    frequency = np.bincount(X.indices[X.data != 0], minlength=X.shape[1])
    # A term of one row tells nothing about likeness.
    columns = np.flatnonzero(frequency > 1)
    idf = np.log((1.0 + rows) / (1.0 + frequency[columns])) + 1.0
    if columns.size <= DIMENSIONS:
        return _Latent(columns, idf, None)
    weighted = _weighted(X, columns, idf)
    _, _, right = randomized_svd(weighted, min(DIMENSIONS, rows), random_state=seed % 2**32)
    return _Latent(columns, idf, np.ascontiguousarray(right.T))


def _weighted(X: Any, columns: NDArray[np.intp], idf: NDArray[np.float64]) -> csr_array:
    return normalize(X[:, columns].astype(np.float64) @ diags_array(idf))


def row_hashes(X: Matrix) -> NDArray[np.uint64]:
    """A 64-bit hash [n] of each row's content: equal rows have equal hashes."""
    if is_sparse(X):
        return _sparse_hashes(X)
    dense = np.asarray(X)
    hashes = np.empty(dense.shape[0], dtype=np.uint64)
    for start in range(0, dense.shape[0], _AT_ONCE):
        hashes[start : start + _AT_ONCE] = _dense_hashes(dense[start : start + _AT_ONCE])
    return hashes


def _dense_hashes(X: NDArray[np.floating]) -> NDArray[np.uint64]:
    """Multilinear hashing (Lemire and Kaser 2014) of pairs of values, which are scattered first.

    Scattering matters: small whole numbers end in many zero bits as floats, which a product alone would keep.
    """
    bits = _bits(X)
    if X.shape[1] % 2:
        bits = np.pad(bits, ((0, 0), (0, 1)))
    pairs = bits.view(np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)
    pairs ^= pairs >> np.uint64(32)
    pairs *= splitmix64(np.arange(pairs.shape[1], dtype=np.uint64)) | np.uint64(1)
    return splitmix64(pairs.sum(axis=1, dtype=np.uint64))


def _sparse_hashes(X: Any) -> NDArray[np.uint64]:
    terms = splitmix64(_bits(X.data).astype(np.uint64) + splitmix64(X.indices.astype(np.uint64)))
    terms[X.data == 0] = 0
    hashes = np.zeros(X.shape[0], dtype=np.uint64)
    np.add.at(hashes, np.repeat(np.arange(X.shape[0]), np.diff(X.indptr)), terms)
    return hashes


def _bits(values: NDArray[np.floating]) -> NDArray[np.uint32]:
    """The bit pattern of each value as float32; adding 0.0 makes -0.0 and 0.0 equal."""
    return np.ascontiguousarray(values.astype(np.float32) + np.float32(0)).view(np.uint32)
