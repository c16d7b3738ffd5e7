"""Parameters of estimators that keep tests quick."""

from collections.abc import Mapping
from typing import Any

from service.catalog.estimators import ESTIMATORS
from service.catalog.parameters import resolve
from workers.learning.estimators.model import TrainedModel
from workers.learning.estimators.training import Trained

_QUICK: Mapping[str, Mapping[str, Any]] = {
    "random_forest": {"n_estimators": 10},
    "extra_trees": {"n_estimators": 10},
    "hist_gradient_boosting": {"max_iter": 10},
}


def quick_params(estimator: str) -> dict[str, Any]:
    """Every parameter of an estimator: its defaults, with few trees."""
    return resolve(ESTIMATORS[estimator].parameters, _QUICK.get(estimator, {}))


def pipeline_of(model: Trained) -> Any:
    """The steps of a model of single classes."""
    assert isinstance(model, TrainedModel)
    return model.pipeline
