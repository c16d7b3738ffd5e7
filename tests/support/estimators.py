"""Parameters of estimators that keep tests quick."""

from collections.abc import Mapping
from typing import Any

from service.catalog.estimators import ESTIMATORS
from service.catalog.parameters import resolve
from service.catalog.tasks import Task
from workers.learning.estimators.model import TrainedModel
from workers.learning.estimators.training import Trained

_QUICK: Mapping[str, Mapping[str, Any]] = {
    "random_forest": {"n_estimators": 10},
    "extra_trees": {"n_estimators": 10},
    "hist_gradient_boosting": {"max_iter": 10},
    "mlp": {"max_iter": 60},
}


def names_for(task: Task) -> list[str]:
    """The estimators that serve a task."""
    return [name for name, entry in ESTIMATORS.items() if task in entry.tasks]


def quick_params(estimator: str) -> dict[str, Any]:
    """Every parameter of an estimator: its defaults, with few trees."""
    return resolve(ESTIMATORS[estimator].parameters, _QUICK.get(estimator, {}))


def pipeline_of(model: Trained) -> Any:
    """The steps of a model of single classes."""
    assert isinstance(model, TrainedModel)
    return model.pipeline
