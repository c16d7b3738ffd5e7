"""The hybrid strategies beside scikit-activeml's and modAL's, where the formulas are the same."""

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.learning.pools import probabilities
from tests.learning.selecting import request_of
from workers.learning.strategies.badge import Badge, Gradients
from workers.learning.strategies.base import Block
from workers.learning.strategies.ranked_batch import RankedBatch
from workers.learning.strategies.uncertainty import LeastConfident

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # both libraries use what newer releases of theirs deprecate
    from modAL.batch import ranked_batch
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool import Badge as PeerBadge


class _Fixed(SkactivemlClassifier):  # type: ignore[misc] # the library has no types
    """Gives the rows the probabilities that it holds."""

    def __init__(self, P: Any = None) -> None:
        super().__init__(classes=[0, 1, 2])
        self.P = P

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "_Fixed":  # noqa: ARG002 - its base's signature
        return self

    def predict_proba(self, X: Any) -> Any:  # noqa: ARG002 - its base's signature
        return self.P


def test_badge_has_the_embeddings_and_first_pick_of_scikit_activeml() -> None:
    # It takes no intercept (so it is given a column of ones), and it keeps the origin as one more centre, which the
    # paper's code does not: the first draw's weights, squared lengths, are comparable, the later ones are not.
    rng = np.random.default_rng(0)
    X, P = rng.normal(size=(40, 5)).astype(np.float32), probabilities(40, 3, rng)
    wide = np.column_stack([X, np.ones(40)])
    peer = PeerBadge(random_state=0)
    picks, utilities = peer.query(
        wide, np.full(40, np.nan), _Fixed(P.astype(np.float64)), fit_clf=False, batch_size=2, return_utilities=True
    )
    lengths = Gradients(X, P).squared_lengths()
    np.testing.assert_allclose(utilities[0], lengths / lengths.sum(), rtol=1e-4)
    gradients = Gradients(X, P)
    to_first = gradients.squared_distances(slice(0, 40), np.array([picks[0]]), lengths)[0]
    with_origin = np.minimum(lengths, to_first)
    rest = np.setdiff1d(np.arange(40), picks[0])
    np.testing.assert_allclose(utilities[1][rest], with_origin[rest] / with_origin[rest].sum(), rtol=1e-4)
    assert Badge().select(request_of(X, 1, scaled=False, P=P)).positions.tolist() == [picks[0]]


@pytest.mark.parametrize("labelled", [1, 20])
def test_ranked_batch_picks_as_modal(labelled: int) -> None:
    rng = np.random.default_rng(labelled)
    X, P = rng.normal(size=(150, 4)).astype(np.float32), probabilities(150, 3, rng)
    pool, known = X[labelled:], X[:labelled]
    uncertainty = LeastConfident().score(Block(P=P[labelled:]))
    learner = SimpleNamespace(X_training=known, on_transformed=False, transform_without_estimating=lambda rows: rows)
    expected, _ = ranked_batch(learner, pool, uncertainty, 30, "euclidean", None)
    request = request_of(X, 30, np.arange(labelled), scaled=False, P=P[labelled:])
    assert RankedBatch().select(request).positions.tolist() == expected.tolist()
