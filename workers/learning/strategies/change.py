"""What a label would change."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd

from workers.learning.matrices import Rows
from workers.learning.strategies.base import Block, Need, Scorer, Selection, SelectionRequest, Selector
from workers.learning.strategies.refit import SoftmaxFit, with_intercept
from workers.learning.strategies.uncertainty import Margin, by_class
from workers.learning.ties import random_subset, tie_keys

Loss = Literal["log_loss", "zero_one"]

_MOST_CLASSES = 64
_MOST_LABELS = 10
_MOST_COLUMNS = 128
_MOST_LABELLED = 300
_MOST_MULTIPLICATIONS = 80_000_000_000
_AXES_SAMPLE = 5_000
_BLOCK = 64
_DIGITS = 7


class ExpectedGradientLength(Scorer):
    """How much a label would move the weights of a softmax regression (Settles, Craven and Ray 2008).

    In Advances in Neural Information Processing Systems 20. The gradient of the log-loss of (x, y) is
    (p - e_y) [x, 1]^T, so its expected length is sum_y p_y ||p - e_y|| times ||[x, 1]||. O(n (C + d)).
    """

    __slots__ = ()

    needs: ClassVar[tuple[Need, ...]] = ("predictions", "features")

    def score(self, block: Block) -> NDArray[np.float32]:
        """The expected length l [n] as l / (1 + l)."""
        p = by_class(block.P)
        # Where a class is nearly certain, the difference of its square and all squares is lost in single precision.
        square = np.einsum("ij,ij->j", p, p, dtype=np.float64)
        residual = np.zeros_like(square)
        for column in p.astype(np.float64):
            others = np.maximum(square - column**2, 0)
            residual += column * np.sqrt((1 - column) ** 2 + others)
        length = np.sqrt(np.einsum("ij,ij->i", block.X, block.X, dtype=np.float64) + 1)
        scores: NDArray[np.float32] = (1 - 1 / (1 + residual * length)).astype(np.float32)
        return scores

    def value(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The expected length [n], told up to a million: scores have six digits."""
        return scores / np.maximum(1 - scores, 1e-6)


@dataclass(frozen=True, slots=True)
class ExpectedErrorReduction(Selector):
    """The lowest expected error over the pool once the label is known (Roy and McCallum 2001).

    In Proceedings of ICML. Probabilities of the labels are the serving model's. The error is that of a softmax
    regression on comparable features, fitted once; a few Newton steps with its curvature tell what a label makes of
    it (see `refit`), where the paper trains anew k x C times.

    Of the candidates, the `shortlist` of smallest margin is judged, or as many as 8e10 multiplications allow (10,000
    of 64 columns, 10 classes and 300 labels). Further limits: the 64 classes of most probability, the 10 most
    probable labels of a candidate, 128 principal axes, 300 labels drawn at random. With s = shortlist,
    e = evaluation_size and l = labels: O(s min(C, 10) C d (e + l)), after O(n C) for the margins and O(l C d^2) for
    the fit.
    """

    needs: ClassVar[tuple[Need, ...]] = ("predictions", "features", "labels")
    max_candidates: int = 20_000
    shortlist: int = 10_000
    evaluation_size: int = 250
    loss: Loss = "log_loss"

    def select(self, request: SelectionRequest) -> Selection:
        """Pick the candidates of lowest expected error; the value: that error, a mean over the evaluation rows."""
        margins = 1.0 - Margin().score(Block(P=request.P)).astype(np.float64)
        judged = np.sort(_soonest(margins, request, max(self._affordable(request), request.count)))
        errors = np.full(request.rows.size, np.nan)
        errors[judged] = self._errors(request, judged)
        # The others come behind, by margin.
        standby = -np.where(np.isnan(errors), np.nanmax(errors) + 1.0 + margins, errors)
        picked = _soonest(-standby, request, request.count)
        return Selection(picked, errors[picked], standby=standby)

    def _affordable(self, request: SelectionRequest) -> int:
        """How many candidates can be judged."""
        classes, columns = min(request.classes, _MOST_CLASSES), min(request.X.shape[1], _MOST_COLUMNS) + 1
        labels = min(classes, _MOST_LABELS)
        rows = self.evaluation_size + 3 * min(request.labelled_y.size, _MOST_LABELLED)
        return int(min(self.shortlist, _MOST_MULTIPLICATIONS // (labels * classes * columns * rows)))

    def _errors(self, request: SelectionRequest, judged: NDArray[np.intp]) -> NDArray[np.float64]:
        """The expected error [judged] of each candidate that is judged."""
        classes = _classes(request)
        X, labelled_X, labelled_y = _shrunk(request)
        known = np.isin(labelled_y, classes)
        fit = SoftmaxFit.of(labelled_X[known], np.searchsorted(classes, labelled_y[known]), classes.size)
        rows = random_subset(request.rows, self.evaluation_size, request.seed, purpose="evaluate")
        seen = with_intercept(X[np.searchsorted(request.rows, rows)])
        P = request.P[judged][:, classes].astype(np.float64)
        cuts = range(_BLOCK, judged.size, _BLOCK)
        blocks = zip(np.split(X[judged], cuts), np.split(P, cuts), strict=True)
        work = _Errors(fit, np.ascontiguousarray(seen.T), self.loss)
        return np.concatenate(list(request.parallel.map(work, blocks)))


@dataclass(frozen=True, slots=True)
class _Errors:
    """Expected errors of a block of candidates.

    Attributes:
        fit: the model of now.
        seen: the rows [d + 1, evaluation rows] on which errors are expected.
        loss: which error.
    """

    fit: SoftmaxFit
    seen: NDArray[np.float32]
    loss: Loss

    def __call__(self, block: tuple[NDArray[np.float32], NDArray[np.float64]]) -> NDArray[np.float64]:
        X, P = block
        labels = np.argsort(-P, axis=1, kind="stable")[:, :_MOST_LABELS]
        chances = np.take_along_axis(P, labels, axis=1)
        # A candidate whose classes are all left out counts the others as equally probable.
        chances = np.where(chances.sum(axis=1, keepdims=True) > 0, chances, 1.0)
        chances /= chances.sum(axis=1, keepdims=True)
        refits = self.fit.refits(X, labels)
        errors = np.array([self._error(refits.weights(i)) for i in range(X.shape[0])])
        expected: NDArray[np.float64] = (errors * chances).sum(axis=1)
        return expected

    def _error(self, weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """The mean error [labels] of each of the refits' `weights` [classes, labels, d + 1]."""
        logits = weights @ self.seen
        logits -= logits.max(axis=0)
        odds = np.exp(logits)
        total = odds.sum(axis=0)
        if self.loss == "zero_one":
            losses = 1 - 1 / total  # the most probable class has odds of 1
        else:
            odds *= logits
            losses = np.log(total) - odds.sum(axis=0) / total
        means: NDArray[np.float64] = losses.mean(axis=1, dtype=np.float64)
        return means


def _soonest(figures: NDArray[np.float64], request: SelectionRequest, count: int) -> NDArray[np.intp]:
    """Positions of the `count` lowest figures, the lowest first; what the last digits tell apart is a tie."""
    return np.lexsort((tie_keys(request.rows, request.seed), np.round(figures, _DIGITS)))[:count]


def _classes(request: SelectionRequest) -> Rows:
    """The codes that are modelled, ascending: those of most probability among the candidates."""
    mass = request.P.sum(axis=0, dtype=np.float64)
    return np.sort(np.argsort(-mass, kind="stable")[:_MOST_CLASSES])


def _shrunk(
    request: SelectionRequest,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Candidates, labelled rows and their codes: as many rows and columns as re-fits can bear."""
    chosen = random_subset(np.arange(request.labelled_y.size), _MOST_LABELLED, request.seed, purpose="refit")
    X, labelled_X, labelled_y = request.X, request.labelled_X[chosen], request.labelled_y[chosen]
    if X.shape[1] <= _MOST_COLUMNS:
        return X, labelled_X, labelled_y
    sample = X[random_subset(np.arange(X.shape[0]), _AXES_SAMPLE, request.seed, purpose="axes")]
    _, _, axes = randomized_svd(sample, min(_MOST_COLUMNS, *sample.shape), random_state=request.seed % 2**32)
    return X @ axes.T, labelled_X @ axes.T, labelled_y


SCORERS: Mapping[str, type[Scorer]] = {"expected_gradient_length": ExpectedGradientLength}

SELECTORS: Mapping[str, type[Selector]] = {"expected_error_reduction": ExpectedErrorReduction}
