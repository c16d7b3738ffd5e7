"""Strategies that rank by the disagreement of a committee."""

from service.catalog.entries import StrategyEntry, schema_of
from service.catalog.tasks import Task

_CLASSES: tuple[Task, ...] = ("classification", "multi_label")

ENTRIES: tuple[StrategyEntry, ...] = (
    StrategyEntry(
        name="vote_entropy",
        summary="The examples that split the votes of the committee's members most evenly.",
        paper="Dagan and Engelson 1995, doi 10.1016/B978-1-55860-377-6.50027-X",
        kind="scorer",
        parameters=schema_of(),
        needs=("committee",),
        tasks=_CLASSES,
        cost="O(n M C) with M members: one pass over their probabilities.",
    ),
    StrategyEntry(
        name="consensus_entropy",
        summary="The examples for which the mean of the members' probabilities has the highest entropy.",
        paper="McCallum and Nigam 1998, Employing EM and pool-based active learning for text classification, ICML",
        kind="scorer",
        parameters=schema_of(),
        needs=("committee",),
        tasks=_CLASSES,
        cost="O(n M C) with M members: one pass over their probabilities.",
    ),
    StrategyEntry(
        name="max_disagreement",
        summary="The examples for which one member departs furthest, by KL divergence, from the mean of all.",
        paper="McCallum and Nigam 1998; the maximum over members as in modAL, Danka and Horvath 2018, arXiv 1805.00979",
        kind="scorer",
        parameters=schema_of(),
        needs=("committee",),
        tasks=_CLASSES,
        cost="O(n M C) with M members: one pass over their probabilities.",
    ),
    StrategyEntry(
        name="bald",
        summary="The examples whose label would tell most about which member is right: mutual information.",
        paper="Houlsby et al. 2011, arXiv 1112.5745; Gal, Islam and Ghahramani 2017, arXiv 1703.02910",
        kind="scorer",
        parameters=schema_of(),
        needs=("committee",),
        tasks=_CLASSES,
        cost="O(n M C) with M members: one pass over their probabilities.",
    ),
)
