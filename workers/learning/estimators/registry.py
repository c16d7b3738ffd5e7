"""Estimators by their catalogue names. A new one is a module and a line here."""

from collections.abc import Mapping

from workers.learning.estimators.base import Implementation
from workers.learning.estimators.boosting import HIST_GRADIENT_BOOSTING
from workers.learning.estimators.forests import EXTRA_TREES, RANDOM_FOREST
from workers.learning.estimators.gaussian_process import GAUSSIAN_PROCESS
from workers.learning.estimators.linear_svm import LINEAR_SVM
from workers.learning.estimators.logistic_regression import LOGISTIC_REGRESSION
from workers.learning.estimators.naive_bayes import NAIVE_BAYES
from workers.learning.estimators.nearest_neighbours import KNN
from workers.learning.estimators.neural_network import MLP
from workers.learning.estimators.preprocessing import Form
from workers.learning.estimators.regressors import REGRESSORS
from workers.learning.estimators.sgd import SGD
from workers.learning.plugins import with_plugins
from workers.learning.tasks import Task

_OWN: Mapping[str, Implementation] = {
    "logistic_regression": LOGISTIC_REGRESSION,
    "linear_svm": LINEAR_SVM,
    "sgd": SGD,
    "naive_bayes": NAIVE_BAYES,
    "knn": KNN,
    "random_forest": RANDOM_FOREST,
    "extra_trees": EXTRA_TREES,
    "hist_gradient_boosting": HIST_GRADIENT_BOOSTING,
    "gaussian_process": GAUSSIAN_PROCESS,
    "mlp": MLP,
}

ESTIMATORS = with_plugins("gleaner.estimators", _OWN, (Implementation,))

TRUSTED_TYPES = sorted(
    {name for kinds in (ESTIMATORS, REGRESSORS) for kind in kinds.values() for name in kind.trusted},
)
"""What skops may build beyond its own list; nothing else is ever loaded."""


def form_of(estimator: str, task: Task) -> Form:
    """In which form an estimator wants the rows for a task."""
    return REGRESSORS[estimator].form if task == "regression" else ESTIMATORS[estimator].form
