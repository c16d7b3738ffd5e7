"""What a label would change."""

from collections.abc import Mapping

from workers.learning.strategies.base import Scorer

SCORERS: Mapping[str, type[Scorer]] = {}
