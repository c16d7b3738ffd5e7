"""Featurizers of text: one that counts terms, one whose rows are vectors."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from workers.learning.featurizers.base import Featurizer

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def letters(texts: Iterable[str], params: Mapping[str, Any]) -> csr_array:  # noqa: ARG001  # it has none
    """How often each letter occurs [texts, 26]."""
    counts = [[text.lower().count(letter) for letter in _LETTERS] for text in texts]
    return csr_array(np.array(counts, dtype=np.float32).reshape(-1, len(_LETTERS)))


def lengths(texts: Iterable[str], params: Mapping[str, Any]) -> NDArray[np.float32]:
    """Letters and words [texts, 2]."""
    counts = np.array([[len(text), len(text.split())] for text in texts], dtype=np.float32).reshape(-1, 2)
    return np.log1p(counts) if params["logarithm"] else counts


def totals(rows: Iterable[Mapping[str, Any]], params: Mapping[str, Any]) -> NDArray[np.float32]:  # noqa: ARG001  # it has none
    """How many numbers a row has, and their sum [rows, 2]."""
    numbers = [[value for value in row.values() if isinstance(value, int | float)] for row in rows]
    return np.array([[len(each), sum(each)] for each in numbers], dtype=np.float32).reshape(-1, 2)


LETTERS = Featurizer(letters, columns=lambda _: len(_LETTERS))
LENGTHS = Featurizer(lengths, columns=lambda _: 2, counts=False)
TOTALS = Featurizer(totals, columns=lambda _: 2, counts=False)
