"""What stands behind a featurizer's name in the catalogue."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from workers.learning.matrices import Matrix


@dataclass(frozen=True, slots=True)
class Featurizer:
    """Makes features of texts, or of rows of a table, each by itself.

    Attributes:
        featurize: texts (or rows: mappings of the fields of the project that are there to their values) and parameters
            to float32 [n, columns]: CSR when `counts`, else dense. What is empty, as deleted rows are, becomes zeros.
        columns: the width, by the parameters.
        counts: the features count terms (or weigh them, never below 0), which models weigh by IDF and condense to
            latent dimensions; else they are taken as vectors are.
        state: a fingerprint of what the rows depend on beside the parameters, such as weights: with another one they
            are made anew.
    """

    featurize: Callable[[Iterable[Any], Mapping[str, Any]], Matrix]
    columns: Callable[[Mapping[str, Any]], int]
    counts: bool = True
    state: Callable[[], str] = str
