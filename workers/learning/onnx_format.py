"""Models of vectors in ONNX, for programs that have no scikit-learn. Needs the extra `onnx`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import skl2onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, compose, helper, numpy_helper
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from workers.learning.estimators.model import TrainedModel

# Old enough for every runtime of the last years, those in browsers included.
_OPSETS = {"": 17, "ai.onnx.ml": 3}
_IR_VERSION = 8
_ROWS, _SEEN = "rows", "seen"
_LEAST = 1e-30  # of a distance or length that is divided by: the quotient stays a number, and outweighs all others


def to_onnx(model: TrainedModel, classes: Sequence[str], *, name: str) -> bytes:
    """The file: `vector` float32 [n, d] in; `label`, a class, [n] and `probabilities` float32 [n, classes] out.

    All but trees, which compare single numbers, compute in float64 as scikit-learn does: float32 would lose what
    columns far from 0 tell, and which of two neighbours is nearer.
    """
    graph = _Graph()
    estimator = model.pipeline[-1]
    scaler = model.pipeline.named_steps.get("scale")
    if scaler is None:
        graph.add("Identity", ["vector"], _ROWS)
    else:
        graph.add("Cast", ["vector"], "wide", to=TensorProto.DOUBLE)
        graph.add("Sub", ["wide", graph.constant("mean", scaler.mean_)], "centred")
        graph.add("Div", ["centred", graph.constant("scale", scaler.scale_)], _ROWS)
    if isinstance(estimator, KNeighborsClassifier):
        _add_neighbours(graph, estimator)
    else:
        part = _converted(estimator, wide=scaler is not None)
        graph.include(part)
        graph.add("Identity", [part.graph.output[1].name], _SEEN)
    _add_answers(graph, model, classes, wide=scaler is not None)
    return graph.file(name, columns=model.pipeline.n_features_in_, classes=len(classes))


class _Graph:
    """The nodes so far, and their constants."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def add(self, kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> None:
        """Add a node, whose outputs are named."""
        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant, which is named."""
        self._constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def include(self, part: ModelProto) -> None:
        """Add the nodes of another graph, none of whose inner names is taken."""
        self._nodes += part.graph.node
        self._constants += part.graph.initializer

    def file(self, name: str, *, columns: int, classes: int) -> bytes:
        """The whole graph as a checked file."""
        inputs = [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [None, columns])]
        outputs = [
            helper.make_tensor_value_info("label", TensorProto.STRING, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, classes]),
        ]
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS.items()]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="gleaner")
        checker.check_model(made)
        data: bytes = made.SerializeToString()
        return data


def _converted(estimator: Any, *, wide: bool) -> ModelProto:
    """What skl2onnx makes of an estimator: of `rows` their codes and, behind them, their probabilities."""
    kind = DoubleTensorType if wide else FloatTensorType
    made: ModelProto = skl2onnx.to_onnx(
        estimator,
        initial_types=[(_ROWS, kind([None, estimator.n_features_in_]))],
        options={id(estimator): {"zipmap": False}},
        target_opset=_OPSETS,
    )
    return compose.add_prefix(made, "part_", rename_inputs=False)


def _add_neighbours(graph: _Graph, estimator: KNeighborsClassifier) -> None:
    """Votes of the nearest rows: `seen` of `rows`."""
    labelled = np.asarray(estimator._fit_X, dtype=np.float64)  # noqa: SLF001 - scikit-learn has no other door to them
    votes = np.eye(len(estimator.classes_))[estimator._y]  # noqa: SLF001 - same
    (_add_cosine if estimator.metric == "cosine" else _add_euclidean)(graph, labelled)
    graph.add(
        "TopK",
        ["distance", graph.constant("neighbours", np.array([estimator.n_neighbors]))],
        *("nearest", "places"),
        axis=1,
        largest=0,
    )
    graph.add("Gather", [graph.constant("votes", votes), "places"], "vote", axis=0)
    if estimator.weights == "distance":
        graph.add("Max", ["nearest", graph.constant("least", np.array(_LEAST))], "nearest_or_more")
        graph.add("Reciprocal", ["nearest_or_more"], "weight")
        graph.add("Unsqueeze", ["weight", graph.constant("last", np.array([2]))], "weight_of_vote")
        graph.add("Mul", ["vote", "weight_of_vote"], "weighted")
    else:
        graph.add("Identity", ["vote"], "weighted")
    graph.add("ReduceSum", ["weighted", graph.constant("second", np.array([1]))], _SEEN, keepdims=0)


def _add_euclidean(graph: _Graph, labelled: NDArray[np.float64]) -> None:
    """`distance` [n, labelled], out of one product of matrices, as scikit-learn computes it."""
    graph.add("ReduceSumSquare", [_ROWS], "square", axes=[1], keepdims=1)
    graph.add("MatMul", [_ROWS, graph.constant("labelled", -2 * labelled.T)], "product")
    graph.add("Add", ["product", graph.constant("squares", (labelled**2).sum(axis=1))], "less")
    graph.add("Add", ["less", "square"], "squared")
    graph.add("Relu", ["squared"], "not_negative")
    graph.add("Sqrt", ["not_negative"], "distance")


def _add_cosine(graph: _Graph, labelled: NDArray[np.float64]) -> None:
    """`distance` [n, labelled]: 1 less the cosine; 1 where a row is 0."""
    graph.add("ReduceL2", [_ROWS], "length", axes=[1], keepdims=1)
    graph.add("Max", ["length", graph.constant("least_length", np.array(_LEAST))], "length_or_more")
    graph.add("Div", [_ROWS, "length_or_more"], "direction")
    graph.add("MatMul", ["direction", graph.constant("labelled", normalize(labelled).T)], "cosine")
    graph.add("Sub", [graph.constant("one", np.array(1.0)), "cosine"], "signed")
    graph.add("Relu", ["signed"], "distance")


def _add_answers(graph: _Graph, model: TrainedModel, classes: Sequence[str], *, wide: bool) -> None:
    """`probabilities` in the project's class order, 0 for classes without labels, and `label`, the likeliest."""
    places = np.eye(model.class_count, dtype=np.float64 if wide else np.float32)[model.pipeline.classes_]
    graph.add("ReduceSum", [_SEEN, graph.constant("classes_axis", np.array([1]))], "sum", keepdims=1)
    graph.add("Div", [_SEEN, "sum"], "share")
    graph.add("MatMul", ["share", graph.constant("places_of_seen", places)], "in_order")
    graph.add("Cast", ["in_order"], "probabilities", to=TensorProto.FLOAT)
    graph.add("ArgMax", ["probabilities"], "likeliest", axis=1, keepdims=0)
    names = np.array([name.encode() for name in classes], dtype=object)
    graph.add("Gather", [graph.constant("names", names), "likeliest"], "label")
