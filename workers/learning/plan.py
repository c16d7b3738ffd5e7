"""Which strategy a query really gets: the cold start of `auto`, and named fall-backs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from workers.learning.query import Query
from workers.learning.strategies.base import Need, Scorer, Selector
from workers.learning.strategies.hybrid import DiverseMiniBatch
from workers.learning.strategies.registry import NAMES, SCORERS, SELECTORS, needs_of, scorer, selector
from workers.learning.strategies.uncertainty import Entropy, PerLabel
from workers.learning.strategies.uncertainty_herding import UncertaintyHerding
from workers.learning.tasks import Task

_LABELS_PER_CLASS = 10
# Of more candidates a random sample takes part: the quadratic cost stays well below a second.
_HERDED = 3_000
_COLD_SAMPLE = 5_000
# In a small pool `oversampling` x k would be much of the pool, certain examples included.
_LARGEST_SHARE = 0.25
_WHOLE_POOL = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run: a scorer, a selector, or neither (random order). `ranked_by` is the part of a composite at work."""

    strategy: str
    ranked_by: str
    params: Mapping[str, Any] = field(default_factory=dict)
    scorer: Scorer | None = None
    selector: Selector | None = None
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
    narrowed_by = query.preselect[0] if query.preselect else "random"
    if chosen.fallback_reason is None and (reason := missing(query, needs_of(narrowed_by))):
        return replace(chosen, fallback_from=narrowed_by, fallback_reason=reason)
    return chosen


def missing(query: Query, needs: tuple[Need, ...]) -> str | None:
    """Why a strategy with these needs cannot rank, or None."""
    if {"predictions", "committee", "model", "labels"} & set(needs) and not _has_predictions(query):
        return "one_class" if _says_one_thing(query) else "no_model"
    if "answers" in needs and query.disagreement is None:
        return "no_labels"
    if "committee" in needs and query.members is None:
        return "no_committee"
    if "features" in needs and query.features is None:
        return "no_features"
    return "no_model" if "model" in needs and query.model is None else None


def _says_one_thing(query: Query) -> bool:
    y = query.labelled().y
    return query.classes == 1 or (query.task != "regression" and len(y) > 0 and bool(np.all(y == y[0])))


def _has_predictions(query: Query) -> bool:
    return query.probabilities is not None and (query.task != "classification" or query.classes > 1)


def _chosen(query: Query) -> Plan:
    if query.strategy == "auto" and query.task == "regression":
        return _auto_numbers(query)
    reason = missing(query, needs_of(query.strategy))
    if reason in {"no_model", "one_class"}:
        return _geometric(query, reason)
    if reason == "no_committee" or (query.strategy == "auto" and reason == "no_features"):
        alone = "predictive_deviation" if query.task == "regression" else "margin"
        return _instead(query, _simple(alone, {}, query.task), reason)
    if reason is not None:
        return _instead(query, _simple("random", {}, query.task), reason)
    if query.strategy == "auto":
        return _auto(query) if query.task == "classification" else _auto_several(query)
    return _simple(query.strategy, query.params, query.task)


def _auto(query: Query) -> Plan:
    """Coverage of the pool weighted by margin at first, then the least margins, clustered into a batch.

    While a class has few labels the model does not know where it is wrong, and uncertain examples that lie in the midst
    of others tell most. Later `oversampling` x k least margins (a quarter of the pool at most) are clustered into k.
    The first part ends at ten labels per class or `max_cold_labels`, whichever is first: a class that never occurs
    must not prolong it.
    """
    if query.labels_count < min(_LABELS_PER_CLASS * query.classes, query.params.get("max_cold_labels", 1_000)):
        herding = UncertaintyHerding(max_candidates=_HERDED)
        return Plan(strategy="auto", ranked_by="uncertainty_herding", params=query.params, selector=herding)
    share = int(_LARGEST_SHARE * np.count_nonzero(query.candidates) / max(query.k, 1))
    oversampling = max(1, min(query.params.get("oversampling", 10), share))
    return Plan(
        strategy="auto",
        ranked_by="diverse_mini_batch",
        params=query.params,
        selector=DiverseMiniBatch(oversampling=oversampling),
    )


def _auto_several(query: Query) -> Plan:
    """The whole pool in clusters, weighted by entropy: of several classes, the least certain alone lost to random."""
    clusters = DiverseMiniBatch(oversampling=_WHOLE_POOL, uncertainty=PerLabel(Entropy()))
    return Plan(strategy="auto", ranked_by="diverse_mini_batch", params=query.params, selector=clusters)


def _auto_numbers(query: Query) -> Plan:
    """Largest cluster maximum distance, with a model or without: uncertainty lost to random on all sets measured."""
    if query.features is None:
        return _instead(query, _simple("random", {}, query.task), "no_features")
    return Plan(strategy="auto", ranked_by="lcmd", params=query.params, selector=selector("lcmd", {}))


def _geometric(query: Query, reason: str) -> Plan:
    """Typical examples of a sample: whoever asks waits, and the next batch has a model."""
    if query.features is None:
        return _instead(query, _simple("random", {}, query.task), reason)
    return _instead(query, _simple("typiclust", {"max_candidates": _COLD_SAMPLE}, query.task), reason)


def _simple(name: str, params: Mapping[str, Any], task: Task) -> Plan:
    if name in SCORERS:
        return Plan(strategy=name, ranked_by=name, params=params, scorer=scorer(name, params, task))
    if name in SELECTORS:
        return Plan(strategy=name, ranked_by=name, params=params, selector=selector(name, params))
    return Plan(strategy=name, ranked_by=name, params=params)


def _instead(query: Query, chosen: Plan, reason: str) -> Plan:
    return replace(chosen, fallback_from=query.strategy, fallback_reason=reason)
