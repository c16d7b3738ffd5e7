"""Two other libraries on the same arrays. Imported in measuring processes only."""

import os
import resource
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from service.cli.bench_arrays import LABELLED, Arrays
from service.cli.bench_child import Measured, repeat

_K = 100
_SHARE_OF_MEMORY = 0.75

SKACTIVEML: Mapping[str, str] = {
    "badge": "Badge",
    "k_center": "CoreSet",
    "typiclust": "TypiClust",
    "probcover": "ProbCover",
    "max_herding": "MaxHerding",
    "drop_query": "DropQuery",
    "margin": "UncertaintySampling",
}
_BY_CLASSIFIER = {"Badge", "DropQuery", "UncertaintySampling"}

MODAL: Mapping[str, str] = {
    "ranked_batch": "modAL.batch.uncertainty_batch_sampling",
    "information_density": "modAL.density.information_density",
    "expected_error_reduction": "modAL.expected_error.expected_error_reduction",
}


def peer(folder: Path, *, rows: int, library: str, strategy: str) -> Measured:
    """One batch by the library's own implementation with its defaults."""
    _limit_memory()
    warnings.simplefilter("ignore")  # both use what newer releases of their own dependencies deprecate
    arrays = Arrays(folder, rows)
    action = _skactiveml(arrays, strategy) if library == "scikit-activeml" else _modal(arrays, strategy)
    return repeat({"peer": action}, fewest=3)


def _limit_memory() -> None:
    """Make an allocation fail that the machine could not hold, instead of having the kernel end other processes."""
    most = int(_SHARE_OF_MEMORY * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _skactiveml(arrays: Arrays, strategy: str) -> Callable[[], object]:
    pool, classifier = import_module("skactiveml.pool"), import_module("skactiveml.classifier")
    linear = import_module("sklearn.linear_model")
    name = SKACTIVEML[strategy]
    options: dict[str, Any] = {"method": "margin_sampling"} if name == "UncertaintySampling" else {}
    query = getattr(pool, name)(random_state=0, **options)
    y = np.full(arrays.rows, np.nan)
    y[:LABELLED] = arrays.y[:LABELLED]
    if name not in _BY_CLASSIFIER:
        return lambda: query.query(arrays.X, y, batch_size=_K)
    wrapped = classifier.SklearnClassifier(linear.LogisticRegression(), classes=np.unique(arrays.y[:LABELLED]))
    fitted = wrapped.fit(arrays.X[:LABELLED], y[:LABELLED])
    return lambda: query.query(arrays.X, y, clf=fitted, fit_clf=False, batch_size=_K)


def _modal(arrays: Arrays, strategy: str) -> Callable[[], object]:
    # modAL still names an alias that numpy has dropped.
    vars(np)["float"] = float
    models, linear = import_module("modAL.models"), import_module("sklearn.linear_model")
    module, _, name = MODAL[strategy].rpartition(".")
    function = getattr(import_module(module), name)
    X, pool = arrays.X[:LABELLED], arrays.X[LABELLED:]
    learner = models.ActiveLearner(linear.LogisticRegression(), X_training=X, y_training=arrays.y[:LABELLED])
    if strategy == "information_density":
        return lambda: function(pool, "euclidean")
    return lambda: function(learner, pool, n_instances=_K)
