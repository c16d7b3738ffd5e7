import numpy as np
import pytest
from scipy.sparse import csr_array

from workers.learning.space import learn_space, row_hashes
from workers.learning.strategies.geometry import squared_distances


def test_row_hashes_tell_rows_apart_dense_and_sparse() -> None:
    X = np.array([[0, 1, 2], [0, 1, 2], [0, 2, 1], [0, 0, 0], [-0.0, 0, 0]], dtype=np.float32)
    for matrix in (X, csr_array(X)):
        hashes = row_hashes(matrix)
        assert hashes[0] == hashes[1]
        assert hashes[3] == hashes[4]
        assert np.unique(hashes).size == 3


def test_explicit_zeros_of_a_sparse_row_do_not_count() -> None:
    explicit = csr_array((np.array([0, 3], dtype=np.float32), np.array([0, 1]), np.array([0, 2])), shape=(1, 2))
    assert row_hashes(explicit) == row_hashes(csr_array(np.array([[0, 3]], dtype=np.float32)))


def test_hashes_of_small_whole_numbers_do_not_collide() -> None:
    # As floats these end in many zero bits, the weak spot of multilinear hashing.
    X = np.stack(np.meshgrid(*[np.arange(10, dtype=np.float32)] * 5), axis=-1).reshape(-1, 5)
    assert np.unique(row_hashes(X)).size == X.shape[0]


@pytest.mark.parametrize("columns", [10, 500], ids=["few terms", "many terms"])
def test_sparse_rows_keep_their_likeness_when_projected(columns: int) -> None:
    rng = np.random.default_rng(6)
    topics = rng.random((3, columns)) < 0.3
    y = np.arange(90) % 3
    counts = (rng.random((90, columns)) < 0.6) & topics[y]
    X = csr_array(counts.astype(np.float32))
    points = learn_space(X, 0).apply(X)
    distances = squared_distances(points, points)
    same = y[:, np.newaxis] == y
    assert distances[same].mean() < 0.7 * distances[~same].mean()
