import numpy as np
import pytest
from scipy.sparse import csr_array

from tests.learning.pools import blobs
from workers.learning.matrices import ArrayReader, Rows
from workers.learning.query import no_rows
from workers.learning.strategies.base import Selection, SelectionRequest, Selector
from workers.learning.strategies.clusters import WeightedKMeans
from workers.learning.strategies.diversity import KCenter, TypiClust
from workers.learning.strategies.geometry import comparable, row_hashes, squared_distances


def select(selector: Selector, X: np.ndarray, count: int, labelled: Rows | None = None) -> Selection:
    rest = np.setdiff1d(np.arange(X.shape[0]), no_rows() if labelled is None else labelled)
    request = SelectionRequest(
        features=ArrayReader(X.astype(np.float32)),
        rows=rest,
        count=count,
        batch=count,
        labelled=no_rows() if labelled is None else labelled,
        seed=0,
    )
    return selector.select(request)


def test_k_center_by_hand() -> None:
    # On a line, labelled at 0: farthest is 10, then 5 (5 from both), then 2 or 7 (2 away from a centre).
    X = np.array([[0], [2], [5], [7], [10]], dtype=np.float32)
    selection = select(KCenter(), X, 4, labelled=np.array([0]))
    positions = selection.positions.tolist()
    assert positions[:2] == [3, 1]  # rows 4 and 2 among the candidates [1, 2, 3, 4]
    assert sorted(positions[2:]) == [0, 2]
    np.testing.assert_allclose(selection.values / selection.values[0], [1, 0.5, 0.2, 0.2], atol=1e-5)


def test_k_center_without_labels_starts_in_the_middle() -> None:
    X = np.array([[0], [4], [5], [7], [10]], dtype=np.float32)
    selection = select(KCenter(), X, 2)
    assert selection.positions[0] == 2
    assert np.isnan(selection.values[0])
    assert selection.positions[1] in {0, 4}


def test_k_center_covers_as_well_as_the_rule_computed_naively() -> None:
    X, _ = blobs(120, 5, np.random.default_rng(1))
    labelled = np.arange(6)
    scaled = comparable(X, 0)
    distances = np.linalg.norm(scaled[:, np.newaxis] - scaled, axis=2)
    picked = labelled.tolist()
    for _ in range(15):
        picked.append(int(np.argmax(distances[:, picked].min(axis=1))))
    assert (select(KCenter(), X, 15, labelled).positions + 6).tolist() == picked[6:]


def test_typiclust_takes_one_of_each_cluster_first_those_without_labels() -> None:
    X, y = blobs(200, 5, np.random.default_rng(2))
    cold = select(TypiClust(), X, 5)
    assert sorted(y[cold.positions]) == [0, 1, 2, 3, 4]
    labelled = np.flatnonzero(y < 2)[:2]
    rest = np.setdiff1d(np.arange(200), labelled)
    warm = select(TypiClust(), X, 3, labelled)
    assert sorted(y[rest[warm.positions]]) == [2, 3, 4]


def test_typiclust_prefers_the_dense_middle_of_a_cluster() -> None:
    X, y = blobs(300, 3, np.random.default_rng(3))
    for position in select(TypiClust(), X, 3).positions:
        own = X[y == y[position]]
        distances = np.linalg.norm(own - own.mean(axis=0), axis=1)
        assert np.linalg.norm(X[position] - own.mean(axis=0)) < np.median(distances)


def test_weighted_k_means_spreads_the_batch_and_orders_by_score() -> None:
    X, y = blobs(60, 4, np.random.default_rng(4))
    scores = np.random.default_rng(5).random(60)
    request = SelectionRequest(
        features=ArrayReader(X), rows=np.arange(60), count=10, batch=4, labelled=no_rows(), seed=0, scores=scores
    )
    selection = WeightedKMeans().select(request)
    assert sorted(y[selection.positions[:4]]) == [0, 1, 2, 3]
    assert (np.diff(selection.values[:4]) <= 0).all()
    standby = np.setdiff1d(np.argsort(-scores), selection.positions[:4], assume_unique=True)
    assert selection.positions[4:].tolist() == standby[:6].tolist()


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


def test_squared_distances() -> None:
    X, centres = np.array([[0, 0], [3, 4]], dtype=np.float32), np.array([[3, 4]], dtype=np.float32)
    np.testing.assert_allclose(squared_distances(X, centres), [[25], [0]])


@pytest.mark.parametrize("columns", [10, 500], ids=["few terms", "many terms"])
def test_sparse_rows_keep_their_likeness_when_projected(columns: int) -> None:
    rng = np.random.default_rng(6)
    topics = rng.random((3, columns)) < 0.3
    y = np.arange(90) % 3
    counts = (rng.random((90, columns)) < 0.6) & topics[y]
    points = comparable(csr_array(counts.astype(np.float32)), 0)
    distances = squared_distances(points, points)
    same = y[:, np.newaxis] == y
    assert distances[same].mean() < 0.7 * distances[~same].mean()
