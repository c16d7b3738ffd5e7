"""Scaling and logistic regression folded into one matrix product."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

# float32 keeps about seven digits: while the terms of the folded product stay below this, it agrees with the pipeline
# to 1e-5. Beyond it (a column of years, say, with its mean far from 0) the pipeline itself is used.
_MAX_TERMS = 100.0


@dataclass(frozen=True, slots=True)
class LinearForm:
    """softmax(W X^T + b) with W [classes, d], b [classes, 1], in float32."""

    W: NDArray[np.float32]
    b: NDArray[np.float32]

    @classmethod
    def of(cls, pipeline: Pipeline) -> Self | None:
        """The folded form of a scaler and a logistic regression; None for others, or where it would be inexact."""
        estimator = pipeline[-1]
        scaler = pipeline.named_steps.get("scale")
        if scaler is None or not isinstance(estimator, LogisticRegression):
            return None
        W = estimator.coef_ / scaler.scale_
        if np.max(np.abs(W) @ np.abs(scaler.mean_)) > _MAX_TERMS:
            return None
        b = estimator.intercept_ - W @ scaler.mean_
        if W.shape[0] == 1:  # two classes: one row of weights, for the second
            W, b = np.vstack([np.zeros_like(W), W]), np.concatenate([[0.0], b])
        return cls(W.astype(np.float32), b.astype(np.float32)[:, np.newaxis])

    def probabilities(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities [n, classes] of rows `X` [n, d]; NaN where float32 overflows.

        Computed class by class: reductions over long contiguous rows are several times faster than over short ones.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            P = self.W @ X.T.astype(np.float32, copy=False)
            P += self.b
            P -= P.max(axis=0)
            np.exp(P, out=P)
            P /= P.sum(axis=0)
        return np.ascontiguousarray(P.T)
