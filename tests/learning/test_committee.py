"""The committee's scorers: the papers' figures and their bounds."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.learning.strategies.base import Block, Scorer
from workers.learning.strategies.committee import SCORERS, Bald, ConsensusEntropy, MaxDisagreement, VoteEntropy

LN2, LN3 = np.log(2), np.log(3)

# Rows of two members and three classes: they agree and are sure; they agree and know nothing; each is sure of another
# class; one is sure where the other knows nothing.
MEMBERS = np.array(
    [
        [[1, 0, 0], [1, 0, 0]],
        [[1 / 3, 1 / 3, 1 / 3], [1 / 3, 1 / 3, 1 / 3]],
        [[1, 0, 0], [0, 1, 0]],
        [[1, 0, 0], [0.5, 0.5, 0]],
    ],
    dtype=np.float32,
)
H31 = 2 * LN2 - 0.75 * LN3  # of (3/4, 1/4)

every_scorer = pytest.mark.parametrize("scorer", [make() for make in SCORERS.values()], ids=list(SCORERS))


@pytest.mark.parametrize(
    ("scorer", "figures"),
    [
        (VoteEntropy(), [0, LN3, LN2, H31]),  # a tie splits the vote
        (ConsensusEntropy(), [0, LN3, LN2, H31]),
        (MaxDisagreement(), [0, 0, LN2, np.log(4 / 3)]),
        (Bald(), [0, 0, LN2, H31 - LN2 / 2]),
    ],
)
def test_hand_computed(scorer: Scorer, figures: list[float]) -> None:
    scores = scorer.score(Block(members=MEMBERS))
    np.testing.assert_allclose(scorer.value(scores.astype(np.float64)), figures, atol=2e-6)
    assert (np.argsort(scores, kind="stable") == np.argsort(np.round(figures, 6), kind="stable")).all()


@every_scorer
@given(seed=st.integers(0, 2**32), members=st.integers(2, 20), classes=st.integers(2, 40))
def test_within_bounds_and_blind_to_the_order_of_members_and_classes(
    scorer: Scorer, seed: int, members: int, classes: int
) -> None:
    rng = np.random.default_rng(seed)
    P = rng.dirichlet(np.full(classes, 0.3), size=(20, members)).astype(np.float32)
    scores = scorer.score(Block(members=P))
    most = classes
    if isinstance(scorer, MaxDisagreement | Bald):
        most = members if isinstance(scorer, MaxDisagreement) else min(members, classes)
    assert (scores >= 0).all()
    assert (scorer.value(scores.astype(np.float64)) <= np.log(most) + 1e-5).all()
    shuffled = P[:, rng.permutation(members)][:, :, rng.permutation(classes)]
    np.testing.assert_allclose(scorer.score(Block(members=shuffled)), scores, atol=2e-6)


@every_scorer
def test_each_row_for_itself_however_many_come_at_once(scorer: Scorer) -> None:
    P = np.random.default_rng(0).dirichlet(np.ones(10), size=(9_000, 5)).astype(np.float32)
    whole = scorer.score(Block(members=P))
    parts = [scorer.score(Block(members=P[start : start + 700])) for start in range(0, len(P), 700)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@every_scorer
def test_members_of_half_precision_and_of_a_thousand_classes(scorer: Scorer) -> None:
    P: Any = np.random.default_rng(1).dirichlet(np.full(1_000, 0.1), size=(30, 3)).astype(np.float16)
    scores = scorer.score(Block(members=P))
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, scorer.score(Block(members=P.astype(np.float32))))
