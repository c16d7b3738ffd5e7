"""The query strategies that `GET /v1/strategies` lists; `workers.learning.strategies` implements them by name."""

from collections.abc import Mapping
from itertools import chain

from service.catalog.entries import StrategyEntry
from service.catalog.families import change, committee, diversity, errors, general, hybrid, regression, uncertainty
from service.catalog.plugins import with_plugins

DEFAULT_STRATEGY = "auto"

_FAMILIES = (general, uncertainty, committee, change, diversity, hybrid, errors, regression)

STRATEGIES: Mapping[str, StrategyEntry] = with_plugins(
    StrategyEntry, chain.from_iterable(family.ENTRIES for family in _FAMILIES)
)


def reviews(name: str) -> bool:
    """Whether the strategy ranks labelled examples, for their labels to be looked at again."""
    return STRATEGIES[name].picks == "labelled"
