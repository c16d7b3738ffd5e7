import numpy as np

from tests.learning.pools import blobs
from tests.learning.selecting import request_of
from workers.learning.strategies.hybrid import DiverseMiniBatch


def test_diverse_mini_batch_spreads_the_batch_and_orders_by_score() -> None:
    X, y = blobs(60, 4, np.random.default_rng(4))
    scores = np.random.default_rng(5).random(60)
    selection = DiverseMiniBatch().select(request_of(X, 4, scores=scores))
    assert sorted(y[selection.positions]) == [0, 1, 2, 3]
    np.testing.assert_allclose(selection.values, np.sort(1 - scores[selection.positions]))
    assert selection.standby is not None
    np.testing.assert_array_equal(selection.standby, scores)
