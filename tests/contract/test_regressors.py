"""What every estimator of numbers promises. A new entry is tested by being listed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.datasets import make_friedman1

from tests.support.estimators import quick_params
from workers.learning.estimators.regression import RegressionModel
from workers.learning.estimators.regressors import REGRESSORS
from workers.learning.estimators.training import TrainingRequest, load_model, train
from workers.learning.featurizers.text import featurize
from workers.learning.metrics import evaluate

every_regressor = pytest.mark.parametrize("estimator", REGRESSORS)


def line(rows: int = 60) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Values of 200 and more with a slope in one of two columns, and little noise."""
    rng = np.random.default_rng(7)
    X = rng.normal(size=(rows, 2)).astype(np.float32)
    return X, 200 + 10 * X[:, 0].astype(np.float64) + rng.normal(size=rows)


def make_request(estimator: str, **changes: Any) -> TrainingRequest:
    X, y = line()
    request = TrainingRequest(
        X=X, y=y, classes=[], task="regression", estimator=estimator, params=quick_params(estimator), seed=4
    )
    return replace(request, **changes)


def told(model: Any, X: Any) -> NDArray[np.float32]:
    """Means and spreads, which are numbers."""
    said: NDArray[np.float32] = model.predictions(X)
    assert said.shape == (X.shape[0], 2)
    assert said.dtype == np.float32
    assert np.isfinite(said).all()
    assert (said[:, 1] >= 0).all()
    return said


@every_regressor
def test_means_are_near_the_values(estimator: str) -> None:
    request = make_request(estimator)
    said = told(train(request), request.X)
    assert np.corrcoef(said[:, 0], request.y)[0, 1] > 0.9
    assert np.abs(said[:, 0] - request.y).mean() < 5


@every_regressor
def test_spreads_say_how_far_off_the_means_are(estimator: str) -> None:
    X, y = make_friedman1(400, noise=1.0, random_state=0)
    X = X.astype(np.float32)
    model = train(make_request(estimator, X=X[:100], y=y[:100]))
    measured = evaluate(told(model, X[100:]), y[100:], np.random.default_rng(0), task="regression")
    assert measured["r2"].value > 0.2
    assert measured["coverage"].value > 0.8
    spread = told(model, X[100:])[:, 1].mean()
    assert 0.5 < spread / measured["rmse"].value < 2


@every_regressor
def test_same_request_same_model_and_a_file_that_gives_it_back(estimator: str) -> None:
    request = make_request(estimator)
    model, again = train(request), train(request)
    assert isinstance(model, RegressionModel)
    loaded = load_model(model.dump(), task="regression", class_count=0)
    expected = told(model, request.X)
    np.testing.assert_array_equal(told(again, request.X), expected)
    np.testing.assert_array_equal(told(loaded, request.X), expected)
    same = train(replace(request, params=model.hyper_parameters))
    np.testing.assert_array_equal(told(same, request.X), expected)


@every_regressor
def test_units_of_the_values_change_nothing(estimator: str) -> None:
    scale = 1e-6
    request = make_request(estimator)
    said = told(train(request), request.X)
    scaled = told(train(replace(request, y=request.y * scale)), request.X)
    np.testing.assert_allclose(scaled / scale, said, rtol=0.1, atol=1)


@every_regressor
@pytest.mark.parametrize("values", [(1.0, 3.0), (5.0, 5.0), (0.0, 0.0)])
def test_two_rows(estimator: str, values: tuple[float, float]) -> None:
    X = np.array([[0, 1], [1, 0]], dtype=np.float32)
    said = told(train(make_request(estimator, X=X, y=np.array(values))), X)
    assert (np.abs(said[:, 0] - np.mean(values)) <= 2 + 1e-3).all()


@every_regressor
@pytest.mark.parametrize("value", [0.0, 3e38])
def test_constant_and_huge_columns_stay_finite(estimator: str, value: float) -> None:
    request = make_request(estimator)
    X = np.column_stack([request.X, np.full(60, value, dtype=np.float32)])
    far = np.full((3, 3), [[3e38], [-3e38], [0]], dtype=np.float32)
    told(train(replace(request, X=X)), np.vstack([X, far]))


@every_regressor
def test_text(estimator: str) -> None:
    words = {0: "poor broken late", 3: "fine quick", 6: "great love best"}
    y = np.array([0.0, 3.0, 6.0] * 8)
    texts = [f"{words[int(value)]} order {number}" for number, value in enumerate(y.tolist())]
    request = make_request(estimator, X=featurize(texts, {}), y=y, text=True, background=featurize(["order", ""], {}))
    model = train(request)
    assert np.corrcoef(told(model, request.X)[:, 0], y)[0, 1] > 0.8
    told(model, featurize(["unheard of", ""], {}))
    nothing = csr_array((4, 2**10), dtype=np.float32)
    said = told(train(make_request(estimator, X=nothing, y=np.array([1.0, 2.0, 3.0, 4.0]), text=True)), nothing)
    np.testing.assert_allclose(said[:, 0], 2.5, atol=1)


@every_regressor
def test_inputs_stay_as_they_are(estimator: str) -> None:
    request = make_request(estimator)
    assert isinstance(request.X, np.ndarray)
    request.X.setflags(write=False)
    request.y.setflags(write=False)
    train(request)


def test_very_many_columns_are_projected_for_a_linear_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.learning.estimators.regressors._MOST_COLUMNS", 200)
    rng = np.random.default_rng(1)
    X = rng.normal(size=(50, 300)).astype(np.float32)
    y = X[:, :100].sum(axis=1).astype(np.float64)
    model = train(make_request("bayesian_ridge", X=X, y=y))
    assert np.corrcoef(told(model, X)[:, 0], y)[0, 1] > 0.5
    loaded = load_model(model.dump(), task="regression", class_count=0)
    np.testing.assert_array_equal(told(loaded, X), told(model, X))
