import numpy as np
import pytest

from tests.learning.pools import blobs
from tests.learning.selecting import request_of
from workers.learning.strategies.coverage import MaxHerding, ProbCover, median_bandwidth, pure_radius
from workers.learning.strategies.geometry import k_means


def test_probcover_by_hand() -> None:
    # On a line with radius 1: 2 covers {1, 2, 3}; then 8 or 9 cover two, {8, 9}; then 20 covers itself.
    X = np.array([[1], [2], [3], [8], [9], [20]], dtype=np.float32)
    selection = ProbCover(radius=1).select(request_of(X, 3, scaled=False))
    assert selection.positions[0] == 1
    assert selection.positions[1] in {3, 4}
    assert selection.positions[2] == 5
    np.testing.assert_allclose(selection.values, [3 / 6, 2 / 6, 1 / 6])


def test_probcover_counts_what_labels_cover_as_covered() -> None:
    X = np.array([[1], [2], [3], [8], [9], [2.5]], dtype=np.float32)
    selection = ProbCover(radius=1).select(request_of(X, 1, labelled=np.array([5]), scaled=False))
    assert selection.positions[0] in {3, 4}


@pytest.mark.parametrize("purity", [0.95, 0.6])
def test_the_pure_radius_is_the_largest_that_keeps_the_purity(purity: float) -> None:
    X, _ = blobs(300, 4, np.random.default_rng(2), columns=2)
    radius = pure_radius(X, 4, purity, 0)
    cluster, _ = k_means(X, 4, 0)
    distances = np.linalg.norm(X[:, np.newaxis].astype(np.float64) - X, axis=2)
    distances[cluster[:, np.newaxis] == cluster] = np.inf
    pure = [np.mean(distances.min(axis=1) > radius * factor) for factor in (0.999, 1.001)]
    assert pure[0] >= purity > pure[1]


def test_a_single_cluster_is_in_one_ball() -> None:
    assert pure_radius(np.ones((5, 2), dtype=np.float32), 3, 0.95, 0) > 0
    X = np.array([[0], [3]], dtype=np.float32)
    assert pure_radius(X, 1, 0.95, 0) > 3


def test_max_herding_takes_the_middle_of_each_cluster_largest_first() -> None:
    X, y = blobs(200, 3, np.random.default_rng(2))
    few = np.concatenate([np.flatnonzero(y == code)[:size] for code, size in enumerate((60, 40, 20))])
    request = request_of(X[few], 3)
    selection = MaxHerding(bandwidth=0.3).select(request)
    assert y[few][selection.positions].tolist() == [0, 1, 2]
    for position in selection.positions:
        own = request.X[y[few] == y[few][position]]
        to_centre = np.linalg.norm(own - own.mean(axis=0), axis=1)
        assert np.linalg.norm(request.X[position] - own.mean(axis=0)) < np.median(to_centre)


def test_max_herding_leaves_clusters_that_have_labels_for_later() -> None:
    X, y = blobs(150, 3, np.random.default_rng(2))
    labelled = np.flatnonzero(y < 2)[:6]
    request = request_of(X, 1, labelled)
    assert y[request.rows][MaxHerding().select(request).positions[0]] == 2


def test_median_bandwidth() -> None:
    X = np.random.default_rng(1).normal(size=(900, 3)).astype(np.float32)
    distances = np.linalg.norm(X[:, np.newaxis] - X, axis=2)[np.triu_indices(900, 1)]
    assert np.exp(-(np.median(distances) ** 2) / (2 * median_bandwidth(X) ** 2)) == pytest.approx(1 / np.e, rel=1e-4)
    assert median_bandwidth(np.ones((4, 2), dtype=np.float32)) == 1
    assert median_bandwidth(np.ones((1, 2), dtype=np.float32)) == 1


def test_a_sample_covers_the_pool_nearly_as_well_as_all_of_it() -> None:
    X, _ = blobs(4_000, 8, np.random.default_rng(2), columns=8)
    request = request_of(X, 40)
    width = median_bandwidth(request.X)
    found = []
    for reference in (4_000, 400):
        picks = request.X[MaxHerding(bandwidth=width, reference=reference).select(request).positions]
        squares = np.square(request.X[:, np.newaxis] - picks).sum(axis=2).min(axis=1)
        found.append(np.exp(-squares / (2 * width**2)).mean())
    assert found[1] > 0.98 * found[0]
