"""The query strategies that `GET /v1/strategies` lists; `workers.learning.strategies` implements them by name."""

from collections.abc import Mapping

from service.catalog.entries import Schema, StrategyEntry, schema_of

DEFAULT_STRATEGY = "auto"

_MAX_CANDIDATES: Schema = {
    "type": "integer",
    "minimum": 100,
    "maximum": 200_000,
    "default": 20_000,
    "description": "A larger pool is reduced to a seeded random sample of this size first.",
}

_ENTRIES = (
    StrategyEntry(
        name="auto",
        summary="Typical, diverse examples while labels are too few, then the least certain by margin, spread over "
        "clusters so that a batch does not repeat itself. The default.",
        paper="Zhdanov 2019, arXiv 1901.05954; cold start: Hacohen et al. 2022, arXiv 2202.02794",
        kind="composite",
        parameters=schema_of(
            oversampling={
                "type": "integer",
                "minimum": 1,
                "maximum": 100,
                "default": 10,
                "description": "Least certain candidates clustered per example of the batch; 1 is plain margin.",
            },
            max_cold_labels={
                "type": "integer",
                "minimum": 0,
                "maximum": 10_000,
                "default": 200,
                "description": "The cold start ends at this many labels at the latest, and at five per class.",
            },
        ),
        needs=("features", "predictions"),
        cost="One pass over the pool's probabilities, then k-means on oversampling x k rows.",
    ),
    StrategyEntry(
        name="random",
        summary="A uniform random draw: the baseline of every comparison.",
        paper="",
        kind="scorer",
        parameters=schema_of(),
        needs=(),
        cost="One hash per candidate.",
    ),
    StrategyEntry(
        name="least_confident",
        summary="The examples whose most probable class is least probable.",
        paper="Lewis and Gale 1994, arXiv cmp-lg/9407020",
        kind="scorer",
        parameters=schema_of(),
        needs=("predictions",),
        cost="One pass over the pool's probabilities.",
    ),
    StrategyEntry(
        name="margin",
        summary="The examples whose two most probable classes are closest.",
        paper="Scheffer, Decomain and Wrobel 2001, doi 10.1007/3-540-44816-0_31",
        kind="scorer",
        parameters=schema_of(),
        needs=("predictions",),
        cost="One pass over the pool's probabilities.",
    ),
    StrategyEntry(
        name="entropy",
        summary="The examples whose class probabilities have the highest entropy.",
        paper="Settles 2009, Active Learning Literature Survey, section 3.1",
        kind="scorer",
        parameters=schema_of(),
        needs=("predictions",),
        cost="One pass over the pool's probabilities.",
    ),
    StrategyEntry(
        name="k_center",
        summary="Core-set: repeatedly the example farthest from everything labelled or picked so far.",
        paper="Sener and Savarese 2018, arXiv 1708.00489",
        kind="selector",
        parameters=schema_of(max_candidates=_MAX_CANDIDATES),
        needs=("features",),
        cost="Distances of the candidates to every label, then one pass over the candidates per pick.",
    ),
    StrategyEntry(
        name="typiclust",
        summary="The most typical example of each cluster that has no label yet: a good first batch.",
        paper="Hacohen, Dekel and Weinshall 2022, arXiv 2202.02794",
        kind="selector",
        parameters=schema_of(
            max_candidates=_MAX_CANDIDATES,
            max_clusters={
                "type": "integer",
                "minimum": 2,
                "maximum": 1000,
                "default": 500,
                "description": "Most clusters; otherwise as many as labels plus picks.",
            },
            neighbors={
                "type": "integer",
                "minimum": 1,
                "maximum": 100,
                "default": 20,
                "description": "Nearest neighbours whose mean distance measures how typical an example is.",
            },
        ),
        needs=("features",),
        cost="k-means on the candidates and distances within each cluster.",
    ),
)

STRATEGIES: Mapping[str, StrategyEntry] = {entry.name: entry for entry in _ENTRIES}
