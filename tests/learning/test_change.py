from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from tests.learning.selecting import request_of
from workers.learning.parallel import Parallel
from workers.learning.strategies.base import Block, SelectionRequest
from workers.learning.strategies.change import ExpectedErrorReduction, ExpectedGradientLength, Loss
from workers.learning.strategies.refit import SoftmaxFit, with_intercept


def test_expected_gradient_length_by_hand() -> None:
    # ||[3, 4, 1]|| = sqrt(26); p = (.5, .5): ||p - e|| = sqrt(.5) for both; a certain prediction moves nothing.
    # p = (.8, .2): .8 ||(-.2, .2)|| + .2 ||(.8, -.8)|| = (.8 x .2 + .2 x .8) sqrt(2); ||[0, 0, 1]|| = 1.
    block = Block(
        P=np.array([[0.5, 0.5], [1, 0], [0.8, 0.2]], dtype=np.float32),
        X=np.array([[3, 4], [3, 4], [0, 0]], dtype=np.float32),
    )
    expected = np.array([np.sqrt(0.5 * 26), 0, 0.32 * np.sqrt(2)])
    scores = ExpectedGradientLength().score(block)
    np.testing.assert_allclose(scores, expected / (1 + expected), rtol=1e-6)
    np.testing.assert_allclose(ExpectedGradientLength().value(scores.astype(np.float64)), expected, rtol=1e-5)


@given(seed=st.integers(0, 2**32), classes=st.integers(2, 12), columns=st.integers(1, 5))
def test_expected_gradient_length_is_that_of_the_gradients_themselves(seed: int, classes: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(6, columns)).astype(np.float32)
    P = rng.dirichlet(np.full(classes, 0.4), size=6).astype(np.float32)
    lengths = np.zeros(6)
    for row, y in product(range(6), range(classes)):
        gradient = np.outer(P[row] - np.eye(classes)[y], [*X[row], 1.0])
        lengths[row] += P[row, y] * np.linalg.norm(gradient)
    scores = ExpectedGradientLength().score(Block(P=P, X=X))
    np.testing.assert_allclose(scores, lengths / (1 + lengths), atol=2e-6)


def test_expected_gradient_length_of_huge_rows_stays_a_score() -> None:
    X = np.full((2, 3), np.finfo(np.float32).max)
    P = np.array([[0.5, 0.5], [1.0, 0.0]], dtype=np.float32)
    scores = ExpectedGradientLength().score(Block(P=P, X=X))
    assert scores.tolist() == [1.0, 0.0]
    assert np.isfinite(ExpectedGradientLength().value(scores.astype(np.float64))).all()


def pool(seed: int, classes: int = 3, rows: int = 120, labelled: int = 60) -> SelectionRequest:
    """Overlapping classes around a circle, some rows labelled, P by a logistic regression on these."""
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * np.arange(classes) / classes
    y = np.arange(rows) % classes
    X = 1.0 * np.column_stack([np.cos(angles), np.sin(angles)])[y] + rng.normal(size=(rows, 2))
    taken = np.arange(labelled)
    request = request_of(X, 10, taken, classes=classes, labelled_y=y[taken])
    P = LogisticRegression(C=10).fit(request.labelled_X, request.labelled_y).predict_proba(request.X)
    return request_of(X, 10, taken, classes=classes, labelled_y=y[taken], P=P.astype(np.float32))


def expected_errors(
    request: SelectionRequest, error: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The paper's own way: train again for each candidate and label, and look at all candidates."""
    errors = np.zeros(request.rows.size)
    model = LogisticRegression(C=10, solver="newton-cholesky", tol=1e-7)
    for row, y in product(range(request.rows.size), range(request.classes)):
        X, codes = np.vstack([request.labelled_X, request.X[row]]), np.append(request.labelled_y, y)
        errors[row] += request.P[row, y] * error(model.fit(X, codes).predict_proba(request.X)).mean()
    return errors


@pytest.mark.parametrize(
    ("loss", "error"),
    [
        ("log_loss", lambda P: -(P * np.log(P)).sum(axis=1)),
        ("zero_one", lambda P: 1 - P.max(axis=1)),
    ],
)
@pytest.mark.parametrize("classes", [2, 4])
def test_refits_rank_like_exact_training(loss: Loss, error: Any, classes: int) -> None:
    request = pool(1, classes)
    exact = expected_errors(request, error)
    selection = ExpectedErrorReduction(loss=loss).select(request)
    assert selection.standby is not None
    assert spearmanr(-selection.standby, exact).statistic > 0.95
    np.testing.assert_allclose(-selection.standby, exact, rtol=0.01)
    # Of 60 candidates, those that are picked are among the best by exact training.
    rank = np.argsort(np.argsort(exact))
    assert np.sort(rank[selection.positions]).max() < 12
    np.testing.assert_allclose(selection.values, -selection.standby[selection.positions])
    assert (np.diff(selection.values) > -1e-6).all()


def test_the_fit_is_that_of_logistic_regression() -> None:
    request = pool(2)
    fit = SoftmaxFit.of(request.labelled_X, request.labelled_y, 3)
    logits = with_intercept(request.X) @ fit.W.T
    np.testing.assert_allclose(softmax(logits, axis=1), request.P, atol=2e-3)


def test_only_the_shortlist_is_judged_and_the_others_stand_by_behind_it() -> None:
    request = pool(3)
    selection = ExpectedErrorReduction(shortlist=20).select(request)
    assert selection.standby is not None
    ordered = np.sort(request.P, axis=1)
    by_margin = np.argsort(ordered[:, -1] - ordered[:, -2])
    assert set(selection.positions) <= set(by_margin[:20])
    np.testing.assert_array_equal(np.argsort(-selection.standby)[20:], by_margin[20:])


def test_any_number_of_jobs_gives_the_same_errors() -> None:
    one, two = (
        ExpectedErrorReduction().select(pool_with(Parallel("threads", jobs), rows=300)).standby for jobs in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


def pool_with(parallel: Parallel, rows: int) -> SelectionRequest:
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.ones(3), size=rows - 20).astype(np.float32)
    labels = np.arange(20) % 3
    return request_of(rng.normal(size=(rows, 4)), 5, np.arange(20), P=P, labelled_y=labels, parallel=parallel)


@pytest.mark.parametrize("labels", [[], [1], [1, 1, 1]], ids=["none", "one", "one class"])
def test_expected_errors_without_much_to_learn_from(labels: list[int]) -> None:
    rng = np.random.default_rng(0)
    request = request_of(
        rng.normal(size=(40, 3)),
        5,
        np.arange(len(labels)),
        P=rng.dirichlet(np.ones(3), size=40 - len(labels)).astype(np.float32),
        labelled_y=np.array(labels, dtype=np.int64),
    )
    selection = ExpectedErrorReduction().select(request)
    assert np.unique(selection.positions).size == 5
    assert np.isfinite(selection.values).all()


def test_expected_errors_with_a_thousand_classes_and_wide_rows() -> None:
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.full(1000, 0.01), size=150).astype(np.float32)
    P[0] = np.eye(1000)[np.argmin(P.sum(axis=0))]  # a candidate whose class is not modelled
    request = request_of(
        rng.normal(size=(200, 150)), 200 - 50, np.arange(50), classes=1000, P=P, labelled_y=np.arange(50) * 7
    )
    selection = ExpectedErrorReduction(evaluation_size=20).select(request)
    assert np.unique(selection.positions).size == 150
    assert np.isfinite(selection.values).all()
