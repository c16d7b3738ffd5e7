"""Featurizers of text by their catalogue names."""

from collections.abc import Mapping

from workers.learning.featurizers.base import Featurizer
from workers.learning.featurizers.text import TEXT
from workers.learning.plugins import with_plugins

FEATURIZERS: Mapping[str, Featurizer] = with_plugins("gleaner.featurizers", {"text": TEXT}, (Featurizer,))
