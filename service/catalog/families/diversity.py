"""Strategies that look at the features alone."""

from service.catalog.entries import StrategyEntry, schema_of
from service.catalog.families.limits import MAX_CANDIDATES

ENTRIES: tuple[StrategyEntry, ...] = (
    StrategyEntry(
        name="k_center",
        summary="Core-set: repeatedly the example farthest from everything labelled or picked so far.",
        paper="Sener and Savarese 2018, arXiv 1708.00489",
        kind="selector",
        parameters=schema_of(max_candidates=MAX_CANDIDATES),
        needs=("features",),
        cost="Distances of the candidates to every label, then one pass over the candidates per pick.",
    ),
    StrategyEntry(
        name="typiclust",
        summary="The most typical example of each cluster that has no label yet: a good first batch.",
        paper="Hacohen, Dekel and Weinshall 2022, arXiv 2202.02794",
        kind="selector",
        parameters=schema_of(
            max_candidates=MAX_CANDIDATES,
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
