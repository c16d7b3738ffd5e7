"""Whether what was built from a file can be used: compiled code follows the indices in it without a look at bounds."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import (
    BaggingRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.ensemble._hist_gradient_boosting.binning import _BinMapper
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.feature_selection import VarianceThreshold
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process._gpc import _BinaryGaussianProcessClassifierLaplace
from sklearn.impute import SimpleImputer
from sklearn.linear_model import BayesianRidge, LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import LabelBinarizer, LabelEncoder, Normalizer, OneHotEncoder, StandardScaler
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor
from sklearn.tree._tree import Tree

_TREES = (DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor)
_FORESTS = (RandomForestClassifier, ExtraTreesClassifier, RandomForestRegressor, ExtraTreesRegressor)
_BOOSTED = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_NEIGHBOURS = (KNeighborsClassifier, KNeighborsRegressor)
# Whatever else scikit-learn has may follow indices, too.
_OWN = frozenset(
    (
        *(*_TREES, *_FORESTS, *_BOOSTED, _BinMapper, *_NEIGHBOURS, LogisticRegression, BayesianRidge),
        *(MLPRegressor, GaussianProcessRegressor, BaggingRegressor, TransformedTargetRegressor, SparseRandomProjection),
        *(GaussianNB, MultinomialNB, MLPClassifier, GaussianProcessClassifier, _BinaryGaussianProcessClassifierLaplace),
        *(OneVsRestClassifier, LabelBinarizer, LabelEncoder, Pipeline, FeatureUnion, StandardScaler, Normalizer),
        *(TfidfTransformer, VarianceThreshold, TruncatedSVD, GaussianRandomProjection, SimpleImputer, OneHotEncoder),
    )
)


def flaws(found: object, *, trusted: Collection[str]) -> Iterator[str]:
    """What is wrong with an object from a file, as sentences.

    Args:
        found: lists, mappings and estimators of scikit-learn or of plug-ins.
        trusted: names of estimators that may be in it, beside those that our own models are made of.
    """
    for part in _parts(found):
        kind = type(part)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if isinstance(part, BaseEstimator) and kind not in _OWN and name not in trusted:
            yield f"It holds {name}, of which no model is made."
        elif not _CHECKS.get(kind, _matrix_is_sound)(part):
            yield f"Numbers in its {kind.__name__} reach outside of it."


def _parts(found: object) -> Iterator[Any]:
    """Everything that can be reached from an object, each once."""
    seen: dict[int, object] = {}
    rest = [found]
    while rest:
        part = rest.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        yield part
        if isinstance(part, Mapping):
            rest += part.values()
        elif isinstance(part, list | tuple | set | frozenset):
            rest += part
        elif isinstance(part, np.ndarray):
            rest += part.ravel().tolist() if part.dtype == object else ()
        else:
            rest += getattr(part, "__dict__", {}).values()


def _matrix_is_sound(part: Any) -> bool:
    """Whether a sparse matrix is one; true of everything else."""
    if issparse(part) and hasattr(part, "check_format"):
        part.check_format(full_check=True)
    return True


def _tree_is_sound(tree: Any) -> bool:
    """A forest has one that is not fitted, beside those that are."""
    return "tree_" not in vars(tree) or _fits(tree.tree_, tree.n_features_in_)


def _forest_is_sound(forest: Any) -> bool:
    """It asks its trees without a look at how many columns each of them has."""
    return all(type(tree) in _TREES and _fits(tree.tree_, forest.n_features_in_) for tree in forest.estimators_)


def _fits(tree: Any, columns: int) -> bool:
    if not isinstance(tree, Tree) or not 1 <= tree.node_count == tree.capacity:
        return False
    inner = tree.children_left != -1
    return _lead_on(inner, (tree.children_left, tree.children_right), tree.feature, columns)


def _boosting_is_sound(model: Any) -> bool:
    """Its columns are numbers as they came: no node asks for categories, and none are encoded before."""
    if "_predictors" not in vars(model):
        return True  # what others are copied from is not fitted
    predictors = [predictor for stage in model._predictors for predictor in stage]  # noqa: SLF001 - nowhere else
    plain = model._preprocessor is None  # noqa: SLF001
    return plain and all(_predictor_fits(predictor.nodes, model.n_features_in_) for predictor in predictors)


def _predictor_fits(nodes: NDArray[Any], columns: int) -> bool:
    if nodes.ndim != 1 or not len(nodes) or nodes["is_categorical"].any():
        return False
    return _lead_on(nodes["is_leaf"] == 0, (nodes["left"], nodes["right"]), nodes["feature_idx"], columns)


def _lead_on(
    inner: NDArray[np.bool_], children: tuple[NDArray[Any], NDArray[Any]], feature: NDArray[Any], columns: int
) -> bool:
    """Whether each inner node asks for a column that there is, and leads to nodes behind it: no way is endless."""
    places = np.flatnonzero(inner)
    behind = all(((places < side[inner]) & (side[inner] < len(inner))).all() for side in children)
    return bool(behind and ((feature[inner] >= 0) & (feature[inner] < columns)).all())


def _neighbours_are_sound(model: Any) -> bool:
    if "_fit_X" not in vars(model):
        return True  # as above
    X, y = model._fit_X, model._y  # noqa: SLF001 - nowhere else
    return bool(y.ndim == 1 and X.shape == (len(y), model.n_features_in_) and model.n_samples_fit_ == len(y))


_CHECKS: Mapping[type, Callable[[Any], bool]] = {
    **dict.fromkeys(_TREES, _tree_is_sound),
    **dict.fromkeys(_FORESTS, _forest_is_sound),
    **dict.fromkeys(_BOOSTED, _boosting_is_sound),
    **dict.fromkeys(_NEIGHBOURS, _neighbours_are_sound),
}
