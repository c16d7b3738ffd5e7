"""What somebody planted in the object store is never run."""

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from scipy.sparse import csr_array
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC

from tests.support.estimators import quick_params
from workers.learning.estimators.committee import Committee
from workers.learning.estimators.files import ModelFileError
from workers.learning.estimators.model import TrainedModel
from workers.learning.estimators.regression import RegressionModel
from workers.learning.estimators.training import TrainingRequest, train


def archive(node: Mapping[str, object], **files: bytes) -> bytes:
    """A file in the form of skops, with this as its object."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("schema.json", json.dumps({**node, "protocol": 2, "_skops_version": skops.__version__}))
        for name, data in files.items():
            packed.writestr(name, data)
    return out.getvalue()


def packed_badly(method: int) -> bytes:
    """A file whose one member is packed by a method and then damaged; it is no bomb."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        packed.writestr("schema.json", os.urandom(200))
    data = bytearray(out.getvalue())
    data[80:120] = bytes(40)
    return bytes(data)


def planted(target: Path) -> dict[str, bytes]:
    """Files that would make a folder if they were run."""
    bomb = f"cposix\nsystem\n(S'mkdir {target}'\ntR.".encode()
    call = {"__class__": "mkdir", "__module__": os.__name__, "__loader__": "FunctionNode", "content": {}}
    reduce = {"__class__": "system", "__module__": "posix", "__loader__": "ReduceNode", "content": {}}
    array = {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "type": "numpy"}
    return {
        "pickle": bomb,
        "zip of a pickle": archive({}, **{"data.pkl": bomb}),
        "function": archive(call),
        "reduce": archive(reduce),
        "pickled array": archive({**array, "file": "a.npy"}, **{"a.npy": b"\x93NUMPY\x01\x00" + bomb}),
        "empty": b"",
        "no zip": b"PK\x03\x04junk",
        "bzip2": packed_badly(zipfile.ZIP_BZIP2),
        "lzma": packed_badly(zipfile.ZIP_LZMA),
        "deflate": packed_badly(zipfile.ZIP_DEFLATED),
    }


@pytest.mark.parametrize("kind", list(planted(Path("x"))))
def test_a_planted_model_is_never_run(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "made"
    data = planted(target)[kind]
    for load in (TrainedModel.load, Committee.load):
        with pytest.raises(ModelFileError):
            load(data, class_count=2)
    assert not target.exists()


def last_step(estimator: str) -> tuple[TrainedModel, Any]:
    """A model of six rows of two columns and two classes, and its estimator."""
    X = np.array([[0, 0], [0, 1], [1, 0], [4, 4], [4, 5], [5, 4]], dtype=np.float32)
    params = {**quick_params(estimator), "min_samples_leaf": 1}
    model = train(
        TrainingRequest(X=X, y=np.array([0, 0, 0, 1, 1, 1]), classes=["a", "b"], estimator=estimator, params=params)
    )
    assert isinstance(model, TrainedModel)
    return model, model.pipeline[-1]


def tree_of(forest: Any) -> Any:
    """A tree that asks for something."""
    return next(tree.tree_ for tree in forest.estimators_ if tree.tree_.node_count > 1)


def nodes_of(boosting: Any) -> Any:
    """Of the first tree of all."""
    return first_of(boosting).nodes


def first_of(boosting: Any) -> Any:
    """The first tree of all."""
    return vars(boosting)["_predictors"][0][0]


def changed(values: Any, value: float, place: int = 0) -> None:
    """Put a number into an array."""
    values[place] = value


CRAFTED: dict[str, tuple[str, Callable[[Any], None]]] = {
    "a child behind the end": ("random_forest", lambda m: changed(tree_of(m).children_left, 10**9)),
    "a child before the start": ("random_forest", lambda m: changed(tree_of(m).children_right, -5)),
    "a circle": ("extra_trees", lambda m: changed(tree_of(m).children_right, 0)),
    "a column that is not there": ("extra_trees", lambda m: changed(tree_of(m).feature, 2)),
    "a column before the first": ("random_forest", lambda m: changed(tree_of(m).feature, -3)),
    "a tree of more columns": ("random_forest", lambda m: setattr(m, "n_features_in_", 1)),
    "a child of boosting": ("hist_gradient_boosting", lambda m: changed(nodes_of(m)["left"], 10**9)),
    "a circle of boosting": ("hist_gradient_boosting", lambda m: changed(nodes_of(m)["right"], 0)),
    "a column of boosting": ("hist_gradient_boosting", lambda m: changed(nodes_of(m)["feature_idx"], 10**9)),
    "categories of boosting": ("hist_gradient_boosting", lambda m: changed(nodes_of(m)["is_categorical"], 1)),
    "no nodes": ("hist_gradient_boosting", lambda m: setattr(first_of(m), "nodes", nodes_of(m)[:0])),
    "labels of fewer rows": ("knn", lambda m: setattr(m, "_y", vars(m)["_y"][:2])),
    "rows of fewer columns": ("knn", lambda m: setattr(m, "_fit_X", vars(m)["_fit_X"][:, :1])),
}


@pytest.mark.parametrize("kind", CRAFTED)
def test_indices_that_lead_outside_are_refused(kind: str) -> None:
    """Compiled code would follow them: the process would end, or read what is not its own."""
    estimator, craft = CRAFTED[kind]
    model, last = last_step(estimator)
    TrainedModel.load(model.dump(), class_count=2)
    craft(last)
    with pytest.raises(ModelFileError, match="reach outside"):
        TrainedModel.load(model.dump(), class_count=2)


CRAFTED_NUMBERS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "a child behind the end": ("extra_trees", lambda m: changed(tree_of(m).children_left, 10**9)),
    "a column of boosting": (
        "hist_gradient_boosting",
        lambda m: changed(nodes_of(m.estimators_[3])["feature_idx"], 10**9),
    ),
    "labels of fewer rows": ("knn", lambda m: setattr(m.estimators_[3], "_y", vars(m.estimators_[3])["_y"][:2])),
}


@pytest.mark.parametrize("kind", CRAFTED_NUMBERS)
def test_indices_of_what_learnt_numbers_are_looked_at_too(kind: str) -> None:
    estimator, craft = CRAFTED_NUMBERS[kind]
    X = np.arange(80, dtype=np.float32).reshape(40, 2)
    request = TrainingRequest(X=X, y=X[:, 0].astype(np.float64), classes=[], task="regression", estimator=estimator)
    model = train(request)
    assert isinstance(model, RegressionModel)
    RegressionModel.load(model.dump())
    craft(model.pipeline[-1])
    with pytest.raises(ModelFileError, match="reach outside"):
        RegressionModel.load(model.dump())


def test_estimators_that_no_model_is_made_of_are_refused() -> None:
    with pytest.raises(ModelFileError, match=r"sklearn\.svm\._classes\.SVC"):
        TrainedModel.load(skops.io.dumps(Pipeline([("estimator", SVC())])), class_count=2)


def test_sparse_numbers_that_reach_outside_are_refused() -> None:
    X = csr_array(np.eye(3, dtype=np.float32))
    neighbours = KNeighborsClassifier().fit(X, [0, 1, 1])
    vars(neighbours)["_fit_X"].indices[0] = 10**6
    with pytest.raises(ModelFileError, match="cannot be read"):
        TrainedModel.load(skops.io.dumps(Pipeline([("estimator", neighbours)])), class_count=2)
