"""Featurizers that look at one example only, by their catalogue names."""

from collections.abc import Mapping

from workers.learning.featurizers.base import Featurizer
from workers.learning.featurizers.embedding import embedding
from workers.learning.featurizers.text import TEXT
from workers.learning.plugins import with_plugins

EMBEDDING = "embedding"

_FEATURIZERS: Mapping[str, Featurizer] = with_plugins(
    "gleaner.featurizers", {"text": TEXT, EMBEDDING: embedding("")}, (Featurizer,)
)


def featurizer_of(name: str, *, embedding_model: str) -> Featurizer:
    """What stands behind a name; embeddings are made by the model in the operator's folder, if there is one."""
    return embedding(embedding_model) if name == EMBEDDING else _FEATURIZERS[name]
