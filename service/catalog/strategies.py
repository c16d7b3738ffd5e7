"""The query strategies that `GET /v1/strategies` lists; `workers.learning.strategies` implements them by name."""

from collections.abc import Mapping, Sequence
from itertools import chain

from service.catalog.entries import StrategyEntry
from service.catalog.families import change, committee, diversity, errors, general, hybrid, regression, uncertainty
from service.catalog.names import known_are, meant
from service.catalog.plugins import with_plugins

DEFAULT_STRATEGY = "auto"

_FAMILIES = (general, uncertainty, committee, change, diversity, hybrid, errors, regression)

STRATEGIES: Mapping[str, StrategyEntry] = with_plugins(
    StrategyEntry, chain.from_iterable(family.ENTRIES for family in _FAMILIES)
)

_UNCERTAINTY = ("margin", "least_confident", "entropy")
_COMMITTEE = ("vote_entropy", "consensus_entropy", "max_disagreement")
_CALLED: Mapping[str, Sequence[str]] = {
    "uncertainty": _UNCERTAINTY,
    "uncertainty_sampling": _UNCERTAINTY,
    "margin_sampling": ("margin",),
    "entropy_sampling": ("entropy",),
    "committee": _COMMITTEE,
    "query_by_committee": _COMMITTEE,
    "qbc": _COMMITTEE,
    "diversity": ("k_center", "kmeans", "typiclust"),
    "core_set": ("k_center",),
    "coreset": ("k_center",),
}
"""Families, and strategies by what papers and other libraries call them."""


def unknown(name: str) -> str:
    """What is said of a name that no strategy has: the usual ones, and those that may be meant."""
    known = list(STRATEGIES)  # in the order of the catalogue: the usual ones come first
    question = meant(name, known, other_words=_CALLED)
    return f"{known_are(known)}{question} `GET /v1/strategies` tells what each does."


def reviews(name: str) -> bool:
    """Whether the strategy ranks labelled examples, for their labels to be looked at again."""
    return STRATEGIES[name].picks == "labelled"
