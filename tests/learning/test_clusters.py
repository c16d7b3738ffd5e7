import numpy as np
import pytest

from tests.learning.pools import blobs
from tests.learning.selecting import request_of, select
from workers.learning.parallel import Parallel
from workers.learning.strategies import geometry
from workers.learning.strategies.clusters import KMeansCentroids, TypiClust
from workers.learning.strategies.geometry import sampled_k_means


def test_kmeans_takes_the_row_nearest_to_each_centroid() -> None:
    X, y = blobs(300, 4, np.random.default_rng(2))
    request = request_of(X, 4)
    selection = KMeansCentroids().select(request)
    assert sorted(y[selection.positions]) == [0, 1, 2, 3]
    for position, value in zip(selection.positions, selection.values, strict=True):
        own = request.X[y == y[position]]
        distances = np.linalg.norm(own - own.mean(axis=0), axis=1)
        np.testing.assert_allclose(value, distances.min(), rtol=1e-3)


def test_kmeans_goes_on_with_the_next_nearest_of_the_largest_cluster() -> None:
    X, y = blobs(100, 2, np.random.default_rng(3))
    most = np.flatnonzero((y == 0) | (np.arange(100) < 40))  # 50 rows of one, 20 of the other
    selection = KMeansCentroids(max_clusters=2).select(request_of(X[most], 6))
    assert y[most][selection.positions].tolist() == [0, 1] * 3
    assert (np.diff(selection.values[::2]) >= 0).all()


def test_typiclust_takes_one_of_each_cluster_first_those_without_labels() -> None:
    X, y = blobs(200, 5, np.random.default_rng(2))
    cold = select(TypiClust(), X, 5)
    assert sorted(y[cold.positions]) == [0, 1, 2, 3, 4]
    labelled = np.flatnonzero(y < 2)[:2]
    rest = np.setdiff1d(np.arange(200), labelled)
    warm = select(TypiClust(), X, 3, labelled)
    assert sorted(y[rest[warm.positions]]) == [2, 3, 4]


def test_typiclust_leaves_small_clusters_for_last() -> None:
    X, y = blobs(200, 3, np.random.default_rng(2))
    few = np.concatenate([np.flatnonzero(y < 2), np.flatnonzero(y == 2)[:4]])
    picked = y[few][TypiClust(max_clusters=3).select(request_of(X[few], 6)).positions]
    assert sorted(picked) == [0, 0, 0, 1, 1, 1]


def test_typicality_is_the_inverse_mean_distance_to_the_nearest_of_the_cluster() -> None:
    X, y = blobs(90, 3, np.random.default_rng(3))
    request = request_of(X, 3)
    selection = TypiClust(neighbors=4).select(request)
    for position, value in zip(selection.positions, selection.values, strict=True):
        own = request.X[(y == y[position])]
        distances = np.sort(np.linalg.norm(own[:, np.newaxis] - own, axis=2), axis=1)[:, 1:5].mean(axis=1)
        np.testing.assert_allclose(value, 1 / distances.min(), rtol=1e-3)


def test_typicality_among_some_members_picks_as_typical_examples() -> None:
    X, y = blobs(3_000, 3, np.random.default_rng(3))
    request = request_of(X, 3, parallel=Parallel("threads", 2))
    exact = TypiClust().select(request).standby
    assert exact is not None
    for position in TypiClust(max_members=300).select(request).positions:
        assert exact[position] > np.quantile(exact[y == y[position]], 0.9)


@pytest.mark.parametrize("clusters", [3, 40])
def test_centres_of_a_sample_are_nearly_as_near_as_those_of_all_rows(
    clusters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, _ = blobs(8_000, 6, np.random.default_rng(3))
    cluster, squares = sampled_k_means(X, clusters, 0, Parallel())
    monkeypatch.setattr(geometry, "_FITTED", 2_000)
    monkeypatch.setattr(geometry, "_ROWS_A_TASK", 1_000)
    sampled_cluster, sampled_squares = sampled_k_means(X, clusters, 0, Parallel("threads", 2))
    assert sampled_squares.mean() < 1.06 * squares.mean()
    assert np.unique(cluster).size == np.unique(sampled_cluster).size == clusters
