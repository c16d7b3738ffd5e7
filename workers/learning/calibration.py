"""Expected calibration error: how far a model's confidence is from how often it is right."""

import numpy as np
from numpy.typing import NDArray

_BINS = 15
_ROWS_A_BIN = 10
_CELLS_A_BIN = 4
_RESAMPLES = 500


def expected_calibration_error(
    P: NDArray[np.float32], y: NDArray[np.int64], rng: np.random.Generator
) -> tuple[float, float, float]:
    """The error (Naeini et al. 2015) of the predicted class (Guo et al. 2017), and its 95 % interval.

    Rows are sorted by the probability of their predicted class into 15 bins of equal mass, fewer where a bin would have
    less than ten; equal confidences stay together. The error is the mean over rows of their bin's difference between
    mean confidence and share of right predictions.

    Noise makes differences of either sign positive: a calibrated model has an error above 0, and its resamples have
    more. So the interval is the basic bootstrap's, which takes most of that off, not the percentiles'.

    Args:
        P: probabilities [n, classes].
        y: codes [n], at least one.
        rng: of the bootstrap.
    """
    confidence = P.max(axis=1).astype(np.float64)
    right = P.argmax(axis=1) == y
    rank = np.searchsorted(np.sort(confidence), confidence)
    bins = max(1, min(_BINS, y.size // _ROWS_A_BIN))
    # Resampling rows is drawing the counts of small cells from a multinomial, at the same cost for any number of rows.
    cell = rank * bins * _CELLS_A_BIN // y.size * 2 + right
    cells, place, counts = np.unique(cell, return_inverse=True, return_counts=True)
    gaps = np.bincount(place, weights=right - confidence) / counts
    in_bin = cells[:, np.newaxis] // (2 * _CELLS_A_BIN) == np.arange(bins)
    draws = np.vstack([counts, rng.multinomial(y.size, counts / y.size, size=_RESAMPLES)])
    errors = np.abs((draws * gaps) @ in_bin).sum(axis=1) / y.size
    value = float(errors[0])
    below, above = np.quantile(errors[1:], [0.025, 0.975]).tolist()
    return value, max(0.0, min(value, 2 * value - above)), min(1.0, max(value, 2 * value - below))
