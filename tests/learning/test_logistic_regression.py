from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array, vstack
from sklearn.linear_model import LogisticRegression

from tests.learning.pools import blobs
from workers.learning.estimators.linear import LinearForm
from workers.learning.estimators.logistic_regression import DEFAULT_C, default_c, fit_logistic_regression
from workers.learning.estimators.preprocessing import Preprocessed
from workers.learning.estimators.training import TrainingRequest, train
from workers.learning.matrices import ArrayReader
from workers.learning.parallel import Parallel
from workers.learning.scoring import predict_blocks


def fit(X: Any, y: Any, classes: int, **params: Any) -> Any:
    return train(TrainingRequest(X=X, y=y, classes=["x"] * classes, params=params))


@pytest.mark.parametrize("classes", [2, 3, 12])
@pytest.mark.parametrize("offset", [0, 1, 300], ids=["centred", "near", "far"])
def test_folded_weights_agree_with_the_pipeline(classes: int, offset: float) -> None:
    rng = np.random.default_rng(classes)
    X, y = blobs(600, classes, rng, columns=16)
    X = X + np.float32(offset)
    model = fit(X[:100], y[:100], classes)
    np.testing.assert_allclose(model.predictions(X), model.pipeline.predict_proba(X.astype(np.float64)), atol=1e-5)


def test_folding_is_left_out_where_float32_would_be_inexact() -> None:
    X, y = blobs(100, 2, np.random.default_rng(0))
    assert LinearForm.of(fit(X, y, 2).pipeline) is not None
    assert LinearForm.of(fit(X + np.float32(2000), y, 2).pipeline) is None


def test_units_of_the_columns_do_not_matter_to_a_table() -> None:
    X, y = blobs(90, 3, np.random.default_rng(1))
    scaled = X * np.array([1e-3, 1, 10, 1e5], dtype=np.float32)
    plain, other = (fit(data, y, 3, scaling="columns").predictions(data) for data in (X, scaled))
    np.testing.assert_allclose(plain, other, atol=1e-3)
    assert fit(scaled, y, 3).hyper_parameters["scaling"] == "columns"
    assert fit(X, y, 3).hyper_parameters["scaling"] == "shared"


def test_penalty_is_fixed_while_labels_are_few_and_chosen_later() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(400, 30)).astype(np.float32)
    y = rng.integers(0, 2, size=400)
    assert fit(X[:18], y[:18], 2).hyper_parameters["C"] == DEFAULT_C
    assert fit(X, y, 2).hyper_parameters["C"] < DEFAULT_C  # nothing to learn: the smaller, the better
    assert fit(X, y, 2, C=3.0).hyper_parameters["C"] == 3.0


def test_blocks_cover_the_asked_rows_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.learning.matrices.GRID", 64)
    X, y = blobs(300, 3, np.random.default_rng(3))
    model = fit(X, y, 3)
    blocks = list(predict_blocks(model, ArrayReader(X), 10, 200, Parallel("threads", 2)))
    assert [(start, stop) for start, stop, _ in blocks] == [(10, 64), (64, 128), (128, 192), (192, 200)]
    np.testing.assert_allclose(np.concatenate([P for _, _, P in blocks]), model.predictions(X[10:200]), atol=1e-6)


def test_texts_fitted_in_few_dimensions_have_the_weights_of_all_terms() -> None:
    rng = np.random.default_rng(4)
    X = random_array((40, 2_000), density=0.01, rng=rng, format="csr")
    X = csr_array(vstack([X, X[:5]]))  # copies span no dimension of their own
    y = np.arange(45) % 3
    model, _ = fit_logistic_regression(Preprocessed([], X), y, {"C": 5.0}, 0)
    plain = LogisticRegression(C=5.0, tol=1e-6, max_iter=2_000).fit(X, y)
    np.testing.assert_allclose(model.coef_, plain.coef_, atol=2e-3)
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X), atol=2e-3)
    assert model.n_features_in_ == 2_000


def test_more_classes_start_with_a_weaker_penalty() -> None:
    assert default_c(2) == DEFAULT_C
    assert default_c(1) == DEFAULT_C
    assert default_c(8) == 2 * DEFAULT_C


def test_a_fit_that_ends_too_early_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.learning.estimators.logistic_regression.MAX_ITERATIONS", 2)
    X, y = blobs(60, 3, np.random.default_rng(5), columns=200)
    assert fit(X, y, 3, C=100.0).hyper_parameters["converged"] is False
