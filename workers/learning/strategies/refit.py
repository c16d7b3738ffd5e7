"""Softmax regression that can say what one more label would make of it, without being fitted again."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

_PENALTY = 0.1
"""Of rows with a mean squared length of 1: the inverse of the estimators' default C."""
_INTERCEPT_PENALTY = 0.01
"""Keeps the intercept of a class without labels finite."""
_ITERATIONS = 200
_STEPS = 8
_CORRECTIONS = 2


@dataclass(frozen=True, slots=True)
class SoftmaxFit:
    """Penalised softmax regression, its rows, and the curvature of its loss, one block a class.

    Attributes:
        X: the rows that it was fitted to, each with a one behind it [n, d + 1].
        W: weights [classes, d + 1].
        logits: of the rows [classes, n].
        penalty: of each weight of a class [d + 1].
        inverse: of each class's block of the Hessian [classes, d + 1, d + 1].
    """

    X: NDArray[np.float32]
    W: NDArray[np.float32]
    logits: NDArray[np.float32]
    penalty: NDArray[np.float32]
    inverse: NDArray[np.float32]

    @classmethod
    def of(cls, X: NDArray[np.float32], y: NDArray[np.int64], classes: int) -> Self:
        """Fit to rows `X` [n, d] with codes `y` by L-BFGS; any number of rows and classes, also none or one.

        The off-diagonal blocks of the Hessian are left out. Twice p(1 - p) in the diagonal ones bounds the whole from
        above (Gershgorin) and is exact for two classes. O(n d^2 classes) for these.
        """
        wide, truth = with_intercept(X).astype(np.float64), np.eye(classes)[y]
        penalty = np.full(wide.shape[1], _PENALTY)
        penalty[-1] = _INTERCEPT_PENALTY
        if classes == 2:  # noqa: PLR2004 - there the estimators penalise the difference of the two rows of weights
            penalty *= 2

        def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            W = flat.reshape(classes, -1)
            log_p = log_softmax(wide @ W.T, axis=1)
            gradient = (np.exp(log_p) - truth).T @ wide + penalty * W
            return float(0.5 * (penalty * W * W).sum() - (truth * log_p).sum()), gradient.ravel()

        start = np.zeros(classes * wide.shape[1])
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS})
        W = found.x.reshape(classes, -1)
        weight = _curvature(softmax(wide @ W.T, axis=1))
        hessians = [(wide * weight[:, c, np.newaxis]).T @ wide + np.diag(penalty) for c in range(classes)]
        inverse = np.linalg.inv(np.stack(hessians))
        return cls(*(array.astype(np.float32) for array in (wide, W, W @ wide.T, penalty, inverse)))

    def refits(self, X: NDArray[np.float32], labels: NDArray[np.int64]) -> "Refits":
        """What labels [n, m] of rows `X` [n, d] would make of the weights, each label by itself."""
        wide = with_intercept(X)
        towards = wide @ self.inverse
        leverage = np.einsum("cij,ij->ic", towards, wide)
        residual = _residuals((wide @ self.W.T).astype(np.float64), leverage.astype(np.float64), labels)
        return Refits(self, wide, towards, leverage, residual.astype(np.float32), labels)


@dataclass(frozen=True, slots=True)
class Refits:
    """Fits with one more labelled row.

    Attributes:
        fit: the one without it.
        X: the rows [n, d + 1].
        towards: where a unit of residual at each row moves the weights [classes, n, d + 1].
        leverage: how far that moves its own logits [n, classes].
        residuals: of each row in the fit that has its label [n, m, classes].
        labels: that are tried [n, m].
    """

    fit: SoftmaxFit
    X: NDArray[np.float32]
    towards: NDArray[np.float32]
    leverage: NDArray[np.float32]
    residuals: NDArray[np.float32]
    labels: NDArray[np.int64]

    def weights(self, i: int) -> NDArray[np.float32]:
        """The weights [classes, m, d + 1] after each label of row `i`.

        The first step solves for the row's own residual and leaves the curvature of the other rows as it was. What
        matters for the expected error is of second order (the expected residual is zero), so more steps follow, from
        the true gradient by the same inverse, updated for the row (Sherman and Morrison). O(m classes n d) each, for n
        rows of the fit.
        """
        fit, x, towards = self.fit, self.X[i], self.towards[:, i, np.newaxis]
        target = np.eye(fit.W.shape[0], dtype=np.float32)[:, self.labels[i]]
        before = _softmax(fit.logits)[:, np.newaxis]
        move = self.residuals[i].T[:, :, np.newaxis] * towards
        for _ in range(_CORRECTIONS):
            p = _softmax((fit.W @ x)[:, np.newaxis] + move @ x)
            moved = _softmax(fit.logits[:, np.newaxis] + move @ fit.X.T) - before
            gradient = moved @ fit.X + fit.penalty * move + (p - target)[:, :, np.newaxis] * x
            step = gradient @ fit.inverse
            curvature = _curvature(p)
            damping = curvature / (1 + curvature * self.leverage[i][:, np.newaxis])
            move -= step - (damping * (step @ x))[:, :, np.newaxis] * towards
        weights: NDArray[np.float32] = fit.W[:, np.newaxis] + move
        return weights


def with_intercept(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """`X` [n, d] and a column of ones."""
    return np.hstack([X, np.ones((X.shape[0], 1), dtype=np.float32)])


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of `logits` [classes, ...]: over the first axis, so that memory is walked along the last."""
    odds: NDArray[np.float32] = np.exp(logits - logits.max(axis=0))
    odds /= odds.sum(axis=0)
    return odds


def _residuals(
    logits: NDArray[np.float64], leverage: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The residual r = e_label - p(logits + leverage r) [n, m, classes] of rows once they have got labels [n, m].

    By Newton's method. The residual before the label, in its place, would make far rows seem to change everything.
    """
    target = np.eye(logits.shape[1])[labels]
    before, strength = logits[:, np.newaxis], leverage[:, np.newaxis]
    r: NDArray[np.float64] = np.zeros_like(target)
    for _ in range(_STEPS):
        p = softmax(before + strength * r, axis=2)
        r = np.clip(r - (r - target + p) / (1.0 + strength * _curvature(p)), -1.0, 1.0)
    return r


def _curvature(p: NDArray[np.floating]) -> NDArray[np.floating]:
    return 2 * p * (1 - p)
