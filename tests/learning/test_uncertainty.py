import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.learning.strategies.base import Block, Scorer
from workers.learning.strategies.uncertainty import Certainty, Entropy, LeastConfident, Margin

P = np.array([[0.5, 0.25, 0.25], [1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.1, 0.45, 0.45]], dtype=np.float32)


@pytest.mark.parametrize(
    ("scorer", "scores", "values"),
    [
        (LeastConfident(), [0.5, 0, 2 / 3, 0.55], [0.5, 1, 1 / 3, 0.45]),
        (Margin(), [0.75, 0, 1, 1], [0.25, 1, 0, 0]),
        (Certainty(target_class=1), [0.25, 0, 1 / 3, 0.45], [0.25, 0, 1 / 3, 0.45]),
        (Certainty(target_class=3), [0, 0, 0, 0], [0, 0, 0, 0]),  # a class that the model does not know yet
        # H(1/2, 1/4, 1/4) = 1.5 bit of log2(3) = 1.58496; H(.1, .45, .45) = 1.36900 bit.
        (Entropy(), [0.946395, 0, 1, 0.863740], [0.946395, 0, 1, 0.863740]),
    ],
)
def test_hand_computed(scorer: Scorer, scores: list[float], values: list[float]) -> None:
    got = scorer.score(Block(P=P))
    np.testing.assert_allclose(got, scores, atol=1e-6)
    np.testing.assert_allclose(scorer.value(got.astype(np.float64)), values, atol=1e-6)


@pytest.mark.parametrize("scorer", [LeastConfident(), Margin(), Entropy()])
@given(seed=st.integers(0, 2**32), classes=st.integers(2, 40))
def test_within_bounds_and_blind_to_the_order_of_classes(scorer: Scorer, seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    random = rng.dirichlet(np.full(classes, 0.3), size=20).astype(np.float32)
    scores = scorer.score(Block(P=random))
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(scorer.score(Block(P=random[:, rng.permutation(classes)])), scores, atol=1e-6)
