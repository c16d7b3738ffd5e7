"""Strategies that rank by the uncertainty of one model."""

from service.catalog.entries import Schema, StrategyEntry, schema_of

_AGGREGATE: Schema = {
    "type": "string",
    "enum": ["mean", "most"],
    "default": "mean",
    "description": "Where an example may have several classes: its uncertainty is the mean over the classes, each by "
    "itself, or that of the `most` uncertain one.",
}

ENTRIES: tuple[StrategyEntry, ...] = (
    StrategyEntry(
        name="least_confident",
        summary="The examples whose most probable class is least probable.",
        paper="Lewis and Gale 1994, arXiv cmp-lg/9407020",
        kind="scorer",
        parameters=schema_of(aggregate=_AGGREGATE),
        needs=("predictions",),
        tasks=("classification", "multi_label"),
        cost="O(n C): one pass over the pool's probabilities.",
    ),
    StrategyEntry(
        name="margin",
        summary="The examples whose two most probable classes are closest.",
        paper="Scheffer, Decomain and Wrobel 2001, doi 10.1007/3-540-44816-0_31",
        kind="scorer",
        parameters=schema_of(aggregate=_AGGREGATE),
        needs=("predictions",),
        tasks=("classification", "multi_label"),
        cost="O(n C): one pass over the pool's probabilities.",
    ),
    StrategyEntry(
        name="entropy",
        summary="The examples whose class probabilities have the highest entropy.",
        paper="Settles 2009, Active Learning Literature Survey, section 3.1",
        kind="scorer",
        parameters=schema_of(aggregate=_AGGREGATE),
        needs=("predictions",),
        tasks=("classification", "multi_label"),
        cost="O(n C): one pass over the pool's probabilities.",
    ),
    StrategyEntry(
        name="certainty",
        summary="The examples that most probably belong to one class: finds the positives among many negatives.",
        paper="Lewis and Gale 1994, arXiv cmp-lg/9407020, as relevance sampling",
        kind="scorer",
        parameters=schema_of(
            target_class={
                "type": "string",
                "format": "class",
                "description": "The name of the class to find.",
            },
        ),
        needs=("predictions",),
        tasks=("classification", "multi_label"),
        cost="O(n): one column of the pool's probabilities.",
    ),
)
