"""Numbers as labels: models that say a mean, and how far the truth may lie from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.ensemble import BaggingRegressor, ExtraTreesRegressor, RandomForestRegressor
from sklearn.pipeline import Pipeline

from workers.learning.estimators.files import read_pipeline
from workers.learning.estimators.regressors import NOISE
from workers.learning.matrices import Matrix, numbers

_FARTHEST = 1e30


@dataclass(frozen=True)
class RegressionModel:
    """A scikit-learn pipeline that ends in a regressor.

    Attributes:
        pipeline: the fitted steps.
        hyper_parameters: the parameters in force, those chosen on the data included; empty after `load`.
    """

    pipeline: Pipeline
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)

    def predictions(self, X: Matrix) -> NDArray[np.float32]:
        """Mean and spread (one standard deviation) [n, 2] of rows `X` [n, d].

        Raises:
            FloatingPointError: when the model has none for a row.
        """
        # Values near the end of float32 overflow where they are scaled, unless in float64.
        prepared: Any = X.astype(np.float64) if "scale" in self.pipeline.named_steps else X
        for _, step in self.pipeline.steps[:-1]:
            prepared = step.transform(prepared)
        with np.errstate(over="ignore"):
            said = _mean_and_spread(self.pipeline.steps[-1][1], prepared)
        # What is said of rows at the end of float32 is absurd anyway, but it must be a number in float32.
        return numbers(np.clip(said, -_FARTHEST, _FARTHEST).astype(np.float32))

    def dump(self) -> bytes:
        """The model's file (skops format)."""
        data: bytes = skops.io.dumps(self.pipeline)
        return data

    @classmethod
    def load(cls, data: bytes) -> Self:
        """The model of a file made by `dump`.

        Raises:
            ModelFileError: when the file holds anything else.
        """
        return cls(read_pipeline(data))


def _mean_and_spread(regressor: Any, X: Any) -> NDArray[np.float64]:
    """What a fitted one of `workers.learning.estimators.regressors` says [n, 2]."""
    if not isinstance(regressor, RandomForestRegressor | ExtraTreesRegressor | BaggingRegressor):
        return np.column_stack(regressor.predict(X, return_std=True))
    said = np.stack([member.predict(X) for member in regressor.estimators_])
    return np.column_stack([said.mean(axis=0), np.hypot(said.std(axis=0), getattr(regressor, NOISE, 0.0))])
