"""Numbers as labels: models that say a mean, and how far the truth may lie from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.pipeline import Pipeline

from workers.learning.estimators.files import read_pipeline
from workers.learning.estimators.preprocessing import Preprocessed
from workers.learning.matrices import Matrix, numbers


@dataclass(frozen=True)
class RegressionModel:
    """A scikit-learn pipeline that ends in a regressor.

    Attributes:
        pipeline: the fitted steps.
        hyper_parameters: the parameters in force, those chosen on the data included; empty after `load`.
    """

    pipeline: Pipeline
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)

    def predict_proba(self, X: Matrix) -> NDArray[np.float32]:
        """Mean and spread (one standard deviation) [n, 2] of rows `X` [n, d].

        Raises:
            FloatingPointError: when the model has none for a row.
        """
        prepared: Any = X
        for _, step in self.pipeline.steps[:-1]:
            prepared = step.transform(prepared)
        return numbers(_mean_and_spread(self.pipeline.steps[-1][1], prepared).astype(np.float32))

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


def fit_regressor(
    name: str, prepared: Preprocessed, y: NDArray[np.float64], params: Mapping[str, Any], seed: int
) -> tuple[Any, dict[str, Any]]:
    """Fit the regressor of a catalogue name to values `y` [n]; with the parameters that it chose."""
    if name != "random_forest":
        raise ValueError(f"{name} serves no regression.")
    forest = RandomForestRegressor(
        n_estimators=params.get("n_estimators", 100),
        max_depth=params.get("max_depth"),
        min_samples_leaf=params.get("min_samples_leaf", 1),
        random_state=np.random.RandomState(seed % 2**32),
        n_jobs=1,
    )
    return forest.fit(prepared.X, y), {}


def _mean_and_spread(regressor: Any, X: Any) -> NDArray[np.float64]:
    """Of a forest [n, 2]: the mean of its trees, and their deviation from it."""
    trees = np.stack([tree.predict(X) for tree in regressor.estimators_])
    return np.column_stack([trees.mean(axis=0), trees.std(axis=0)])
