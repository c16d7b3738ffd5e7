"""Which strategy a query really gets: composition, the cold start of `auto`, and named fall-backs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from workers.learning.query import Query
from workers.learning.strategies.base import Scorer, Selector
from workers.learning.strategies.clusters import WeightedKMeans
from workers.learning.strategies.registry import NAMES, SCORERS, SELECTORS
from workers.learning.strategies.uncertainty import Margin

_LABELS_PER_CLASS = 5
# In a small pool `oversampling` x k would be much of the pool, certain examples included.
_LARGEST_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The parts to run. Neither scorer nor selector: random order. Both: the selector picks among the best scored."""

    strategy: str
    params: Mapping[str, Any] = field(default_factory=dict)
    scorer: Scorer | None = None
    selector: Selector | None = None
    narrow_to: int | None = None
    fallback_from: str | None = None
    fallback_reason: str | None = None


def plan(query: Query) -> Plan:
    """Decide what runs; whatever is missing leads to another strategy with a reason, never to an error.

    Raises:
        ValueError: for a name that no catalogue entry has.
    """
    if query.strategy not in NAMES:
        raise ValueError(f"There is no strategy called {query.strategy!r}.")
    chosen = _chosen(query)
    narrowed_by = query.preselect[0] if query.preselect else None
    if narrowed_by in SCORERS and chosen.fallback_reason is None and (missing := missing_predictions(query)):
        return replace(chosen, fallback_from=narrowed_by, fallback_reason=missing)
    return chosen


def missing_predictions(query: Query) -> str | None:
    """Why there are no probabilities to rank by, or None."""
    if query.probabilities is not None and query.classes > 1:
        return None
    return "one_class" if query.classes == 1 or np.unique(query.labelled_codes).size == 1 else "no_model"


def _chosen(query: Query) -> Plan:
    if query.strategy == "auto":
        return _auto(query)
    if query.strategy in SCORERS and (missing := missing_predictions(query)):
        return _geometric(query, missing)
    if query.strategy in SELECTORS and query.features is None:
        return _instead(query, _simple("random", {}), "no_features")
    return _simple(query.strategy, query.params)


def _auto(query: Query) -> Plan:
    """Typical examples at first, then margin narrowed to `oversampling` x k (a quarter at most) and clustered into k.

    The cold start ends when every class has a label, or at five labels per class or `max_cold_labels`, whichever is
    first: a class that never occurs must not prolong it.
    """
    if missing := missing_predictions(query):
        return _geometric(query, missing)
    if query.features is None:
        return _instead(query, _simple("margin", {}), "no_features")
    limit = min(_LABELS_PER_CLASS * query.classes, query.params.get("max_cold_labels", 200))
    if np.unique(query.labelled_codes).size < query.classes and query.labels_count < limit:
        return _geometric(query, "cold_start")
    selector = WeightedKMeans()
    wanted = query.params.get("oversampling", 10) * query.k
    share = int(_LARGEST_SHARE * np.count_nonzero(query.candidates))
    return Plan(
        strategy="auto",
        params=query.params,
        scorer=Margin(),
        selector=selector,
        narrow_to=max(min(wanted, share, selector.max_candidates), query.k + query.reserve),
    )


def _geometric(query: Query, reason: str) -> Plan:
    name = "random" if query.features is None else "typiclust"
    return _instead(query, _simple(name, {}), reason)


def _simple(name: str, params: Mapping[str, Any]) -> Plan:
    if name in SCORERS:
        return Plan(strategy=name, params=params, scorer=SCORERS[name](**params))
    if name in SELECTORS:
        return Plan(strategy=name, params=params, selector=SELECTORS[name](**params))
    return Plan(strategy=name, params=params)


def _instead(query: Query, chosen: Plan, reason: str) -> Plan:
    return replace(chosen, fallback_from=query.strategy, fallback_reason=reason)
