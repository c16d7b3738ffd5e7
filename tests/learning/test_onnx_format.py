"""Models in ONNX say what the models say, by a runtime that knows nothing of scikit-learn."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from service.catalog.estimators import ESTIMATORS
from tests.learning.pools import blobs
from tests.support.estimators import quick_params
from workers.learning.estimators.model import TrainedModel
from workers.learning.estimators.training import TrainingRequest, train
from workers.learning.onnx_format import to_onnx

CLASSES = ["bug", "never labelled", "Lob", "质问"]
CONVERTED = [name for name, entry in ESTIMATORS.items() if entry.onnx]


def run(file: bytes, X: NDArray[np.float32]) -> tuple[list[str], NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    labels, P = session.run(["label", "probabilities"], {"vector": X})
    return labels.tolist(), P


def check(request: TrainingRequest, X: NDArray[np.float32]) -> None:
    model = train(request)
    assert isinstance(model, TrainedModel)
    labels, P = run(to_onnx(model, request.classes, name="test-1"), X)
    expected = model.predictions(X)
    np.testing.assert_allclose(P, expected, atol=1e-5, rtol=0)
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > 1e-5
    assert clear.sum() > len(X) / 2
    wanted = np.array(request.classes, dtype=object)[expected.argmax(axis=1)]
    assert np.array(labels, dtype=object)[clear].tolist() == wanted[clear].tolist()


def make_request(estimator: str, seed: int = 7, columns: int = 4, **params: Any) -> TrainingRequest:
    """200 rows of three classes that overlap, of which the project has four."""
    X, y = blobs(200, 3, np.random.default_rng(seed), columns)
    return TrainingRequest(
        X=(X / 4).astype(np.float32),
        y=np.array([0, 2, 3])[y],
        classes=CLASSES,
        estimator=estimator,
        params=quick_params(estimator) | params,
        seed=4,
    )


def near(X: Any, seed: int = 1) -> NDArray[np.float32]:
    """The rows, others around them, and some that are far away."""
    rng = np.random.default_rng(seed)
    around = X + rng.normal(scale=0.5, size=X.shape)
    rows: NDArray[np.float32] = np.vstack([X, around, 100 * around[:20], np.zeros((1, X.shape[1]))]).astype(np.float32)
    return rows


@pytest.mark.parametrize("estimator", CONVERTED)
@pytest.mark.parametrize("columns", [4, 64])
def test_same_probabilities_and_labels(estimator: str, columns: int) -> None:
    request = make_request(estimator, columns=columns)
    check(request, near(request.X))


@pytest.mark.parametrize("estimator", CONVERTED)
def test_two_classes(estimator: str) -> None:
    request = make_request(estimator)
    check(replace(request, y=(request.y > 0).astype(np.int64), classes=["no", "yes"]), near(request.X))


@pytest.mark.parametrize("estimator", CONVERTED)
def test_columns_far_from_zero_and_of_any_unit(estimator: str) -> None:
    """Seconds since 1970, which float32 holds to two minutes, and millionths."""
    request = make_request(estimator)
    rng = np.random.default_rng(3)
    seconds = 1.6e9 + 1e5 * request.y + rng.integers(0, 2**10, size=200) * 128
    X = np.column_stack([request.X, seconds, 1e-6 * rng.normal(size=200)]).astype(np.float32)
    check(replace(request, X=X), X)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("weights", ["distance", "uniform"])
@pytest.mark.parametrize("neighbours", [1, 7])
def test_neighbours(metric: str, weights: str, neighbours: int) -> None:
    request = make_request("knn", metric=metric, weights=weights, n_neighbors=neighbours)
    check(request, near(request.X))


@pytest.mark.parametrize("estimator", ["logistic_regression", "linear_svm"])
def test_weights_of_a_weak_penalty(estimator: str) -> None:
    request = make_request(estimator, C=1e4)
    check(request, near(request.X))


def test_a_deep_network() -> None:
    request = make_request("mlp", layers=3, units=16)
    check(request, near(request.X))


def test_any_number_of_rows() -> None:
    request = make_request("logistic_regression")
    model = train(request)
    assert isinstance(model, TrainedModel)
    file = to_onnx(model, request.classes, name="test-1")
    for rows in (1, 5):
        labels, P = run(file, np.zeros((rows, 4), dtype=np.float32))
        assert (len(labels), P.shape) == (rows, (rows, 4))
