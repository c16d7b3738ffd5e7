"""Strategies by their catalogue names. A new one is a class and a line in its family's module."""

from collections.abc import Callable, Mapping
from typing import Any

from workers.learning.plugins import with_plugins
from workers.learning.strategies import change, committee, diversity, errors, hybrid, regression, uncertainty
from workers.learning.strategies.base import Need, Scorer, Selector
from workers.learning.tasks import Task

_OWN: Mapping[str, type[Scorer | Selector]] = {
    **uncertainty.SCORERS,
    **committee.SCORERS,
    **change.SCORERS,
    **diversity.SCORERS,
    **hybrid.SCORERS,
    **regression.SCORERS,
    **change.SELECTORS,
    **diversity.SELECTORS,
    **hybrid.SELECTORS,
    **errors.SELECTORS,
    **regression.SELECTORS,
}

_STRATEGIES = with_plugins("gleaner.strategies", _OWN, (Scorer, Selector), classes=True)

SCORERS: Mapping[str, type[Scorer]] = {name: kind for name, kind in _STRATEGIES.items() if issubclass(kind, Scorer)}

SELECTORS: Mapping[str, type[Selector]] = {
    name: kind for name, kind in _STRATEGIES.items() if issubclass(kind, Selector)
}

NAMES = frozenset({"auto", "random", *SCORERS, *SELECTORS})
"""What a query can name. `auto` and `random` are made of the others: see `workers.learning.plan`."""


def needs_of(name: str) -> tuple[Need, ...]:
    """What the strategy ranks by."""
    if name == "auto":
        return ("features", "predictions")
    if name == "random":
        return ()
    return SCORERS[name].needs if name in SCORERS else SELECTORS[name].needs


def scorer(name: str, params: Mapping[str, Any], task: Task) -> Scorer:
    """A scorer of the catalogue for a task, with parameters that the catalogue has checked."""
    make: Callable[..., Scorer] = SCORERS[name]
    made = make(**params)
    if task == "multi_label" and isinstance(made, uncertainty.ByClass):
        return uncertainty.PerLabel(made)
    if task == "multi_label" and isinstance(made, committee.Disagreement):
        return committee.PerLabel(made)
    return made


def selector(name: str, params: Mapping[str, Any]) -> Selector:
    """A selector of the catalogue, with parameters that the catalogue has checked."""
    make: Callable[..., Selector] = SELECTORS[name]
    return make(**params)
