import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.learning.pools import blobs
from workers.learning.strategies.base import Block
from workers.learning.strategies.density import Density


def test_density_is_the_mean_likeness_to_the_sample() -> None:
    X = np.random.default_rng(1).normal(size=(400, 3)).astype(np.float32)
    distances = np.linalg.norm(X[:, np.newaxis] - X, axis=2)
    width = 0.7 * np.median(np.sort(distances, axis=1)[:, 20])  # the 20th nearest of 400, itself not counted
    expected = np.exp(-(distances**2) / (2 * width**2)).mean(axis=1)
    scorer = Density(bandwidth=0.7).prepared(X)
    np.testing.assert_allclose(scorer.score(Block(X=X)), expected, rtol=1e-3)
    np.testing.assert_allclose(scorer.score(Block(X=X[5:9])), expected[5:9], rtol=1e-3)


def test_density_ranks_the_largest_cluster_first_and_outliers_last() -> None:
    X, y = blobs(300, 3, np.random.default_rng(2))
    X = np.concatenate([X[y == 0], X[y == 1][:30], np.full((1, 4), 30, dtype=np.float32)])
    scores = Density().prepared(X).score(Block(X=X))
    assert scores[:100].mean() > 2 * scores[100:130].mean()
    assert scores.argmin() == 130


@pytest.mark.parametrize("rows", [1, 2, 700])
def test_rows_that_are_all_equal_are_as_dense_as_can_be(rows: int) -> None:
    X = np.full((rows, 3), 0.5, dtype=np.float32)
    np.testing.assert_allclose(Density(reference=100).prepared(X).score(Block(X=X)), 1, rtol=1e-5)


def test_a_smaller_sample_ranks_about_alike() -> None:
    X = np.random.default_rng(1).normal(size=(2_000, 8)).astype(np.float32)
    whole, sampled = (Density(reference=count).prepared(X).score(Block(X=X)) for count in (2_000, 500))
    assert spearmanr(whole, sampled).statistic > 0.95
