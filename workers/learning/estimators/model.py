"""A trained model: probabilities in the project's class order, and its file form without pickle."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from workers.learning.estimators.files import read_pipeline
from workers.learning.estimators.linear import LinearForm
from workers.learning.matrices import Matrix, is_sparse, numbers


@dataclass(frozen=True)
class TrainedModel:
    """A scikit-learn pipeline, made of scikit-learn's own classes and those of plug-ins; `classes_` are class codes.

    Attributes:
        pipeline: the fitted steps.
        class_count: number of the project's classes when it was trained.
        hyper_parameters: the parameters in force, those chosen on the data included; empty after `load`.
    """

    pipeline: Pipeline
    class_count: int
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)

    def predictions(self, X: Matrix) -> NDArray[np.float32]:
        """Class probabilities [n, class_count] of rows `X` [n, d], 0 for classes without labels.

        Raises:
            FloatingPointError: when the model has none for a row.
        """
        linear = None if is_sparse(X) else self._linear
        P = self._seen_proba(X) if linear is None else linear.probabilities(X)
        if linear is not None and not np.isfinite(P.sum()):
            # Values near the end of float32 overflow the folded product, not the pipeline in float64.
            rows = np.flatnonzero(~np.isfinite(P).all(axis=1))
            P[rows] = self._seen_proba(X[rows])
        return self._in_class_order(numbers(P))

    def dump(self) -> bytes:
        """The model's file (skops format)."""
        data: bytes = skops.io.dumps(self.pipeline)
        return data

    @classmethod
    def load(cls, data: bytes, *, class_count: int) -> Self:
        """The model of a file made by `dump`.

        Raises:
            ModelFileError: when the file holds anything else.
        """
        return cls(pipeline=read_pipeline(data), class_count=class_count)

    @cached_property
    def _linear(self) -> LinearForm | None:
        return LinearForm.of(self.pipeline)

    def _seen_proba(self, X: Matrix) -> NDArray[np.float32]:
        """By the pipeline, for the classes that it has seen, in float64 where the values could overflow."""
        wide = X.astype(np.float64) if "scale" in self.pipeline.named_steps else X
        with np.errstate(over="ignore", invalid="ignore"):
            # scikit-learn looks for NaN by adding up the values, which huge ones of both signs make a NaN of.
            P: NDArray[np.float32] = self.pipeline.predict_proba(wide).astype(np.float32)
        # Likelihoods of far away rows are beyond the digits of float64: naive Bayes is then certain of several classes.
        P /= P.sum(axis=1, keepdims=True)
        return P

    def _in_class_order(self, P: NDArray[np.float32]) -> NDArray[np.float32]:
        seen = self.pipeline.classes_
        if len(seen) == self.class_count:
            return P
        full = np.zeros((P.shape[0], self.class_count), dtype=np.float32)
        full[:, seen] = P
        return full
