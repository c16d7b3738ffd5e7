"""What every estimator of the catalogue promises. A new entry is tested by being listed."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import skops.io
from scipy.sparse import csr_array
from sklearn.tree import DecisionTreeClassifier

from service.catalog.estimators import DEFAULT_ESTIMATORS, ESTIMATORS
from tests.learning.pools import blobs
from tests.support.estimators import names_for, quick_params
from workers.learning.estimators.auto import AUTO
from workers.learning.estimators.files import ModelFileError
from workers.learning.estimators.model import TrainedModel
from workers.learning.estimators.registry import ESTIMATORS as IMPLEMENTATIONS
from workers.learning.estimators.registry import TRUSTED_TYPES
from workers.learning.estimators.regressors import REGRESSORS
from workers.learning.estimators.training import TrainingRequest, load_model, train
from workers.learning.featurizers.text import featurize

CLASSES = ["a", "b", "c", "d"]

every_estimator = pytest.mark.parametrize("estimator", names_for("classification"))


def make_request(estimator: str, **changes: Any) -> TrainingRequest:
    """60 rows of three classes, of which the project has four: `b` has no label."""
    X, y = blobs(60, 3, np.random.default_rng(7))
    request = TrainingRequest(
        X=X,
        y=np.array([0, 2, 3])[y],
        classes=CLASSES,
        estimator=estimator,
        params=quick_params(estimator),
        seed=4,
    )
    return replace(request, **changes)


def test_catalogue_and_implementations_name_the_same_estimators() -> None:
    assert set(names_for("classification")) == {AUTO, *IMPLEMENTATIONS}
    assert set(names_for("regression")) == {AUTO, *REGRESSORS}
    assert all(task in ESTIMATORS[name].tasks for task, name in DEFAULT_ESTIMATORS.items())


@every_estimator
def test_probabilities_are_in_the_projects_class_order(estimator: str) -> None:
    request = make_request(estimator)
    P = train(request).predictions(request.X)
    assert P.shape == (60, 4)
    assert P.dtype == np.float32
    np.testing.assert_allclose(P.sum(axis=1), 1, atol=1e-5)
    assert not P[:, 1].any()
    assert np.mean(P.argmax(axis=1) == request.y) > 0.95


@every_estimator
def test_same_request_same_model_and_a_file_that_gives_it_back(estimator: str) -> None:
    request = make_request(estimator)
    model, again = train(request), train(request)
    loaded = TrainedModel.load(model.dump(), class_count=4)
    expected = model.predictions(request.X)
    np.testing.assert_array_equal(again.predictions(request.X), expected)
    np.testing.assert_array_equal(loaded.predictions(request.X), expected)


@every_estimator
def test_hyper_parameters_are_parameters_again(estimator: str) -> None:
    request = make_request(estimator)
    model = train(request)
    again = train(replace(request, params=model.hyper_parameters))
    np.testing.assert_array_equal(again.predictions(request.X), model.predictions(request.X))


@every_estimator
def test_two_classes_one_row_each(estimator: str) -> None:
    request = make_request(estimator, X=np.array([[0, 1], [1, 0]], dtype=np.float32), y=np.array([0, 3]))
    P = train(request).predictions(request.X)
    assert np.isfinite(P).all()
    assert not P[:, 1:3].any()


@pytest.mark.parametrize("estimator", names_for("multi_label"))
def test_several_classes_an_example(estimator: str) -> None:
    request = make_request(estimator)
    assert isinstance(request.X, np.ndarray)
    Y = np.column_stack([request.y == 0, request.y != 2, np.zeros(60), request.X[:, 0] > 0]).astype(np.int64)
    model = train(replace(request, y=Y, task="multi_label"))
    P = model.predictions(request.X)
    assert P.shape == (60, 4)
    assert ((P >= 0) & (P <= 1)).all()
    assert np.mean((P[:, :2] >= 0.5) == Y[:, :2]) > 0.95
    loaded = load_model(model.dump(), task="multi_label", class_count=4)
    np.testing.assert_array_equal(loaded.predictions(request.X), P)


@every_estimator
def test_one_class_is_refused(estimator: str) -> None:
    with pytest.raises(ValueError, match="one_class"):
        train(make_request(estimator, y=np.zeros(60, dtype=np.int64)))


@every_estimator
@pytest.mark.parametrize("value", [0.0, 1.0, 3e38])
def test_constant_and_huge_columns_stay_finite(estimator: str, value: float) -> None:
    request = make_request(estimator)
    X = np.column_stack([request.X, np.full(60, value, dtype=np.float32)])
    model = train(replace(request, X=X))
    far = np.full((3, 5), [[3e38], [-3e38], [0]], dtype=np.float32)
    P = model.predictions(np.vstack([X, far]))
    assert np.isfinite(P).all()
    np.testing.assert_allclose(P.sum(axis=1), 1, atol=1e-5)


@every_estimator
def test_text(estimator: str) -> None:
    words = {0: "refund money card", 2: "late parcel lost", 3: "thanks great love"}
    y = np.array([0, 2, 3] * 8)
    texts = [f"{words[code]} order {number}" for number, code in enumerate(y.tolist())]
    request = make_request(estimator, X=featurize(texts, {}), y=y, text=True, background=featurize(["order", ""], {}))
    model = train(request)
    assert np.mean(model.predictions(request.X).argmax(axis=1) == y) > 0.9
    assert np.isfinite(model.predictions(featurize(["unheard of", ""], {}))).all()
    loaded = TrainedModel.load(model.dump(), class_count=4)
    np.testing.assert_array_equal(loaded.predictions(request.X), model.predictions(request.X))


@every_estimator
def test_text_without_words(estimator: str) -> None:
    nothing = csr_array((4, 2**10), dtype=np.float32)
    P = train(make_request(estimator, X=nothing, y=np.array([0, 2, 0, 2]), text=True)).predictions(nothing)
    np.testing.assert_allclose(P[:, [0, 2]], 0.5, atol=0.35)


@every_estimator
def test_inputs_stay_as_they_are_and_nothing_warns(estimator: str) -> None:
    request = make_request(estimator)
    assert isinstance(request.X, np.ndarray)
    request.X.setflags(write=False)
    request.y.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(replace(request, y=np.arange(60), classes=[str(code) for code in range(60)]))


def test_files_with_other_types_are_not_loaded() -> None:
    assert TRUSTED_TYPES == [
        "scipy.sparse._csr.csr_matrix",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
    ]
    tree = DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1])
    tree.classes_ = range  # a function is what an attack would smuggle in
    with pytest.raises(ModelFileError, match="UntrustedTypesFoundException"):
        TrainedModel.load(skops.io.dumps({"call": np.testing.assert_equal, "tree": tree}), class_count=2)
