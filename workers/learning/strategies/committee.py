"""Disagreement of a committee of models."""

from collections.abc import Mapping

from workers.learning.strategies.base import Scorer

SCORERS: Mapping[str, type[Scorer]] = {}
