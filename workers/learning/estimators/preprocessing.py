"""The steps before the estimator, learnt from the unlabelled background as well: scales of vectors, IDF of text."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import vstack
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.feature_selection import VarianceThreshold
from sklearn.preprocessing import Normalizer, StandardScaler

from workers.learning.matrices import Matrix, is_sparse
from workers.learning.scaling import Scaling, learn_units


@dataclass(frozen=True, slots=True)
class Preprocessed:
    """Fitted steps, the labelled rows after them (float64), and what was chosen on the way."""

    steps: list[tuple[str, Any]]
    X: Any
    chosen: dict[str, Any] = field(default_factory=dict)


def preprocess(X: Matrix, background: Matrix | None, *, text: bool, scaling: Scaling | None) -> Preprocessed:
    """Fit the steps for `X` [n, d]: TF-IDF for `text`, centring and scaling for vectors (none if `scaling` is None)."""
    if text:
        return _weigh_terms(X, background)
    if scaling is None or is_sparse(X):
        return Preprocessed([], X)
    return _scale_columns(X, background, scaling)


def _scale_columns(X: NDArray[np.float32], background: Matrix | None, scaling: Scaling) -> Preprocessed:
    units = learn_units(X if background is None else np.vstack([background, X]), scaling)
    # Two rows whose mean and deviation are the units: scikit-learn's own class, without touching its insides.
    scaler = StandardScaler().fit(np.stack([units.mean - units.scale, units.mean + units.scale]))
    return Preprocessed([("scale", scaler)], scaler.transform(X.astype(np.float64)), {"scaling": units.scaling})


def _weigh_terms(X: Matrix, background: Matrix | None) -> Preprocessed:
    """Sublinear TF-IDF, of the columns that occur in the labelled rows only, as rows of length 1.

    A term without a labelled row has the coefficient 0 under an L2 penalty; leaving it out keeps the optimiser and the
    model file small (2**18 columns x 77 classes would be 160 MB). It must go before rows are scaled: unknown terms are
    most of an unlabelled row while labels are few, and would shrink it until every row is predicted as the largest
    class (accuracy on 1,000 SMS messages with 3,000 labels: 0.966 instead of 0.982).
    """
    tfidf = TfidfTransformer(sublinear_tf=True, norm=None)
    tfidf.fit(X if background is None else vstack([background, X], format="csr"))
    weighted = tfidf.transform(X).astype(np.float64)
    occurs = np.zeros((2, weighted.shape[1]), dtype=np.float32)
    occurs[1, weighted.indices] = 1.0
    occurs[1, 0] = 1.0  # at least one column, also when every labelled text is empty
    occurring = VarianceThreshold().fit(occurs)
    known = occurring.transform(weighted)
    length = Normalizer().fit(known)
    return Preprocessed([("tfidf", tfidf), ("occurring", occurring), ("length", length)], length.transform(known))
