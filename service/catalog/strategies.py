"""The query strategies that `GET /v1/strategies` lists; `workers.learning.strategies` implements them by name."""

from collections.abc import Mapping
from itertools import chain

from service.catalog.entries import StrategyEntry
from service.catalog.families import change, committee, diversity, errors, general, hybrid, regression, uncertainty

DEFAULT_STRATEGY = "auto"

_FAMILIES = (general, uncertainty, committee, change, diversity, hybrid, errors, regression)

STRATEGIES: Mapping[str, StrategyEntry] = {
    entry.name: entry for entry in chain.from_iterable(family.ENTRIES for family in _FAMILIES)
}
