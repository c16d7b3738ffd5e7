"""Expected error reduction against scikit-activeml; modAL's cannot be imported with numpy 2 (`np.float`)."""

import warnings
from importlib import import_module

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from tests.learning.selecting import request_of
from workers.learning.strategies.change import ExpectedErrorReduction

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    SklearnClassifier = import_module("skactiveml.classifier").SklearnClassifier  # it has no annotations
    MonteCarloEER = import_module("skactiveml.pool").MonteCarloEER


def test_expected_errors_agree_with_scikit_activeml() -> None:
    """It trains k x C times and adds the log-losses up."""
    rng = np.random.default_rng(4)
    y = np.arange(70) % 3
    X = np.array([[1, 0], [-1, 1], [-1, -1]])[y] + rng.normal(size=(70, 2))
    labelled = np.arange(30)
    request = request_of(X, 8, labelled, labelled_y=y[labelled])
    model = LogisticRegression(C=10, solver="newton-cholesky", tol=1e-6)
    P = model.fit(request.labelled_X, request.labelled_y).predict_proba(request.X).astype(np.float32)
    selection = ExpectedErrorReduction().select(request_of(X, 8, labelled, labelled_y=y[labelled], P=P))
    assert selection.standby is not None

    known = np.full(70, np.nan)
    known[labelled] = y[labelled]
    peer = MonteCarloEER(method="log_loss", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, utilities = peer.query(
            np.vstack([request.labelled_X, request.X]),
            known,
            clf=SklearnClassifier(model, classes=[0, 1, 2]),
            X_eval=request.X,
            ignore_partial_fit=True,
            return_utilities=True,
        )
    theirs = utilities[0][30:]
    assert spearmanr(selection.standby, theirs).statistic > 0.9
    assert np.intersect1d(selection.positions, np.argsort(-theirs)[:8]).size >= 6
