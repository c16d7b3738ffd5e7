"""The committee's figures against modAL and scikit-activeml.

Deliberate difference: a member whose best classes are tied splits its vote; the peers give it to the first of them.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.learning.strategies.base import Block
from workers.learning.strategies.committee import SCORERS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # both use what newer releases of their own dependencies deprecate
    from modAL import disagreement
    from skactiveml.pool import _query_by_committee as skactiveml

CLASSES, MEMBERS, ROWS = 4, 5, 60


class Answers:
    """What modAL asks a committee for; `X` is the members' probabilities themselves [n, members, classes]."""

    classes_ = np.arange(CLASSES)

    def __len__(self) -> int:
        return MEMBERS

    def __iter__(self) -> Any:
        return iter(range(MEMBERS))

    def vote(self, X: Any) -> Any:
        return X.argmax(axis=2)

    def vote_proba(self, X: Any) -> Any:
        return X

    def predict_proba(self, X: Any) -> Any:
        return X.mean(axis=1)


def members() -> NDArray[np.float64]:
    return np.random.default_rng(3).dirichlet(np.full(CLASSES, 0.4), size=(ROWS, MEMBERS))


def figures(name: str) -> NDArray[np.float64]:
    scorer = SCORERS[name]()
    return scorer.value(scorer.score(Block(members=members().astype(np.float32))).astype(np.float64))


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("vote_entropy", disagreement.vote_entropy),
        ("consensus_entropy", disagreement.consensus_entropy),
        ("max_disagreement", disagreement.KL_max_disagreement),
    ],
)
def test_as_modal(name: str, peer: Callable[..., NDArray[np.float64]]) -> None:
    np.testing.assert_allclose(figures(name), peer(Answers(), members()), atol=3e-6)


def test_votes_as_scikit_activeml() -> None:
    expected = skactiveml.vote_entropy(members().argmax(axis=2), np.arange(CLASSES))
    np.testing.assert_allclose(figures("vote_entropy"), expected, atol=3e-6)


def test_bald_is_the_mean_divergence_of_scikit_activeml() -> None:
    expected = skactiveml.average_kl_divergence(members().transpose(1, 0, 2).copy())
    np.testing.assert_allclose(figures("bald"), expected, atol=2e-5)
