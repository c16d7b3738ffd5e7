"""Small real data sets whose labels are all known: what the demo plays with."""

import csv
import gzip
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from workers.learning.estimators.folds import stratified_folds

_TEST_SHARE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Labelled examples, some of them kept aside.

    Attributes:
        title: For people.
        inputs: Vectors [n, d], or n texts.
        y: The class code of each example [n], into `classes`.
        classes: Names of the classes.
        test: Which examples are kept aside to measure models [n].
    """

    title: str
    inputs: NDArray[np.float32] | list[str]
    y: NDArray[np.int64]
    classes: list[str]
    test: NDArray[np.bool_]


def load(name: str, rng: np.random.Generator) -> Dataset:
    """A data set in `NAMES`, with a stratified third of it drawn by `rng` as the test set.

    Raises:
        KeyError: There is none of that name.
    """
    title, inputs, labels = _LOADERS[name]()
    classes, y = np.unique(labels, return_inverse=True)
    codes = y.astype(np.int64)
    test = stratified_folds(codes, _TEST_SHARE, rng) == 0
    return Dataset(title=title, inputs=inputs, y=codes, classes=[str(label) for label in classes], test=test)


def _digits() -> tuple[str, NDArray[np.float32], list[str]]:
    """The handwritten digits that come with scikit-learn: 1,797 images of 8 x 8 pixels (UCI; Alpaydin and Kaynak)."""
    bunch = load_digits()
    return "handwritten digits", bunch.data.astype(np.float32), [str(digit) for digit in bunch.target]


def _text() -> tuple[str, list[str], list[str]]:
    """2,500 messages of the SMS Spam Collection (CC BY 4.0; see `data/README.md`)."""
    packed = (resources.files("workers.learning") / "data" / "sms_spam.csv.gz").read_bytes()
    rows = list(csv.DictReader(io.StringIO(gzip.decompress(packed).decode(), newline="")))
    return "text messages, spam or not", [row["text"] for row in rows], [row["label"] for row in rows]


_LOADERS: Mapping[str, Callable[[], tuple[str, NDArray[np.float32] | list[str], list[str]]]] = {
    "digits": _digits,
    "text": _text,
}

NAMES = tuple(_LOADERS)
