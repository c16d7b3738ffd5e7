"""The estimators that `GET /v1/estimators` lists; `workers.learning.estimators` implements them by name."""

from collections.abc import Mapping
from itertools import chain

from service.catalog.entries import EstimatorEntry
from service.catalog.estimator_families import linear, other, trees
from service.catalog.plugins import with_plugins
from service.catalog.tasks import Task

DEFAULT_ESTIMATORS: Mapping[Task, str] = {
    "classification": "logistic_regression",
    "multi_label": "logistic_regression",
    "regression": "random_forest",
}

_FAMILIES = (linear, other, trees)

ESTIMATORS: Mapping[str, EstimatorEntry] = with_plugins(
    EstimatorEntry, chain.from_iterable(family.ENTRIES for family in _FAMILIES)
)
