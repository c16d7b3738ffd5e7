"""The strategies against scikit-activeml's, on pools small enough for its n x n matrices.

It measures coverage on every candidate, as ours does where there are fewer than `reference`, and chooses clusters of
k-means of its own seed, so that TypiClust is compared on clusters that any seed finds.
"""

import warnings
from importlib import import_module

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.learning.pools import blobs
from tests.learning.selecting import request_of
from workers.learning.strategies import clusters, coverage
from workers.learning.strategies.base import SelectionRequest
from workers.learning.strategies.diversity import KCenter

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the library uses what newer releases of others deprecate
    pool = import_module("skactiveml.pool")  # it has no annotations

ROWS, LABELLED = 200, 8


def cloud() -> tuple[SelectionRequest, NDArray[np.float64], NDArray[np.float64]]:
    """A request for 12, the same rows as one matrix (labelled ones first) and their labels, NaN for candidates."""
    X = np.random.default_rng(9).normal(size=(ROWS, 5)).astype(np.float32)
    labels = np.where(np.arange(ROWS) < LABELLED, np.arange(ROWS) % 2, np.nan)
    return request_of(X, 12, np.arange(LABELLED), scaled=False), X.astype(np.float64), labels


def test_k_center_picks_what_core_set_picks() -> None:
    request, X, labels = cloud()
    theirs = pool.CoreSet(random_state=0).query(X, labels, batch_size=12)
    assert (KCenter().select(request).positions + LABELLED).tolist() == theirs.tolist()


def test_max_herding_picks_and_gains_the_same() -> None:
    request, X, labels = cloud()
    peer = pool.MaxHerding(metric="rbf", metric_dict={"gamma": 0.3}, normalize_samples=False, random_state=0)
    theirs, utilities = peer.query(X, labels, batch_size=12, return_utilities=True)
    ours = coverage.MaxHerding(bandwidth=(2 * 0.3) ** -0.5).select(request)
    assert (ours.positions + LABELLED).tolist() == theirs.tolist()
    np.testing.assert_allclose(ours.values, utilities[np.arange(12), theirs], rtol=1e-4)


@pytest.mark.filterwarnings("ignore:The maximum purity was:UserWarning")  # it says so of any given radius
def test_each_pick_of_probcover_is_one_of_the_peers_best() -> None:
    request, X, labels = cloud()
    ours = coverage.ProbCover(radius=1.5).select(request)
    for position, value in zip(ours.positions + LABELLED, ours.values, strict=True):
        peer = pool.ProbCover(deltas=[1.5], n_classes=2, random_state=0)
        _, utilities = peer.query(X, labels, batch_size=1, return_utilities=True)
        assert utilities[0, position] == np.nanmax(utilities)
        np.testing.assert_allclose(value * (ROWS - LABELLED), utilities[0, position], rtol=1e-5)
        labels[position] = 0  # its ties fall by chance: it goes on from our pick


def test_typiclust_picks_the_same_of_clear_clusters() -> None:
    X, _ = blobs(ROWS, 5, np.random.default_rng(2))
    theirs = pool.TypiClust(k=20, random_state=0).query(X, np.full(ROWS, np.nan), batch_size=5)
    ours = clusters.TypiClust().select(request_of(X, 5, scaled=False))
    assert set(ours.positions) == set(theirs)
