"""Text as hashed term counts: no vocabulary, so an upload never changes what earlier rows became."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import HashingVectorizer

from workers.learning.featurizers.base import Featurizer

_N_FEATURES = 2**18


def featurize(texts: Iterable[str], params: Mapping[str, Any]) -> csr_array:
    """Counts of words and word n-grams, float32 [texts, n_features]; all zeros for a text without words."""
    vectorizer = HashingVectorizer(
        n_features=params.get("n_features", _N_FEATURES),
        ngram_range=(1, params.get("max_ngram", 2)),
        lowercase=params.get("lowercase", True),
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
    )
    return csr_array(vectorizer.transform(texts))


TEXT = Featurizer(featurize, columns=lambda params: params.get("n_features", _N_FEATURES))
