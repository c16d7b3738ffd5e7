"""Labelled examples whose label looks wrong."""

from collections.abc import Mapping

from workers.learning.strategies.base import Selector

SELECTORS: Mapping[str, type[Selector]] = {}
