"""The steps before the estimator, learnt from the unlabelled background as well: scales of vectors, IDF of text."""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.preprocessing import StandardScaler

from workers.learning.estimators.terms import TermWeights, TextForm, learn_terms
from workers.learning.matrices import Matrix, Rows, is_sparse
from workers.learning.scaling import Scaling, Units, learn_units


@dataclass(frozen=True, slots=True)
class Preprocessed:
    """Fitted steps, the labelled rows after them (float64), what was chosen on the way, and the rows' groups."""

    steps: list[tuple[str, Any]]
    X: Any
    chosen: dict[str, Any] = field(default_factory=dict)
    groups: NDArray[np.int64] | None = None

    def only(self, rows: Rows) -> "Preprocessed":
        """Of some of the labelled rows."""
        return replace(self, X=self.X[rows], groups=None if self.groups is None else self.groups[rows])


@dataclass(frozen=True, slots=True)
class Form:
    """In which form an estimator wants the rows.

    Attributes:
        scaled: vectors centred and scaled, to a mean squared length of 1; else as they were uploaded.
        text: `terms` are sparse, `latent` dimensions of semantics dense, `both` sparse side by side.
    """

    scaled: bool = True
    text: TextForm = "both"


class Background(Protocol):
    """What is learnt without labels; the same for every training on the same pool."""

    def prepare(self, X: Matrix, form: Form) -> Preprocessed:
        """The steps, with what they take from the labelled rows `X` [n, d], and these rows after them."""
        ...


def learn_background(rows: Matrix, *, text: bool, scaling: Scaling, latent: int) -> Background:
    """Learn from `rows` [m, d], a sample of the pool.

    Args:
        rows: labelled or not.
        text: they hold term counts: TF-IDF, and `latent` dimensions of latent semantics beside it.
        scaling: how vectors are scaled.
        latent: number of dimensions; 0: none.
    """
    if text:
        return _Terms(learn_terms(csr_array(rows), latent))
    if is_sparse(rows):
        return _Untouched()
    return _Scaled(learn_units(np.asarray(rows), scaling))


@dataclass(frozen=True, slots=True)
class _Untouched:
    def prepare(self, X: Matrix, form: Form) -> Preprocessed:  # noqa: ARG002  # nothing was learnt
        return Preprocessed([], X)


@dataclass(frozen=True, slots=True)
class _Scaled:
    units: Units

    def prepare(self, X: NDArray[np.float32], form: Form) -> Preprocessed:
        if not form.scaled:
            return Preprocessed([], X)
        mean, scale = self.units.mean, self.units.scale
        # Two rows whose mean and deviation are the units: scikit-learn's own class, without touching its insides.
        scaler = StandardScaler().fit(np.stack([mean - scale, mean + scale]))
        return Preprocessed(
            [("scale", scaler)], scaler.transform(X.astype(np.float64)), {"scaling": self.units.scaling}
        )


@dataclass(frozen=True, slots=True)
class _Terms:
    weights: TermWeights

    def prepare(self, X: csr_array, form: Form) -> Preprocessed:
        steps = self.weights.steps(X, form.text)
        prepared = X
        for _, step in steps:
            prepared = step.transform(prepared)
        return Preprocessed(steps, prepared)
