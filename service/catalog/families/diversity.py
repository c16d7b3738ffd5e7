"""Strategies that look at the features alone."""

from service.catalog.entries import Schema, StrategyEntry, schema_of
from service.catalog.families.limits import MAX_CANDIDATES
from service.catalog.tasks import EVERY_TASK

_WHOLE_POOL: Schema = {**MAX_CANDIDATES, "maximum": 10_000_000, "default": 1_000_000}

_MAX_CLUSTERS: Schema = {"type": "integer", "minimum": 2, "maximum": 1000, "default": 500}

ENTRIES: tuple[StrategyEntry, ...] = (
    StrategyEntry(
        name="k_center",
        summary="Core-set: repeatedly the example farthest from everything labelled or picked so far.",
        paper="Sener and Savarese 2018, arXiv 1708.00489",
        kind="selector",
        parameters=schema_of(max_candidates=_WHOLE_POOL),
        needs=("features",),
        tasks=EVERY_TASK,
        cost="O(n (m + k) d) for m labels, at most 2^30 / n of them; exact, in a few passes over the candidates.",
    ),
    StrategyEntry(
        name="kmeans",
        summary="The examples nearest to the centroids of as many clusters as the batch has places.",
        paper="Nguyen and Smeulders 2004, doi 10.1145/1015330.1015349",
        kind="selector",
        parameters=schema_of(
            max_candidates=_WHOLE_POOL,
            max_clusters={
                **_MAX_CLUSTERS,
                "description": "Most clusters; otherwise as many as picks. Further picks are the next nearest.",
            },
        ),
        needs=("features",),
        tasks=EVERY_TASK,
        cost="k-means on s = 20,000 candidates, O(s k d) an iteration; then O(n k d) once.",
    ),
    StrategyEntry(
        name="typiclust",
        summary="The most typical example of each cluster that has no label yet: a good first batch.",
        paper="Hacohen, Dekel and Weinshall 2022, arXiv 2202.02794",
        kind="selector",
        parameters=schema_of(
            max_candidates={**MAX_CANDIDATES, "default": 100_000},
            max_clusters={**_MAX_CLUSTERS, "description": "Most clusters; otherwise as many as labels plus picks."},
            neighbors={
                "type": "integer",
                "minimum": 1,
                "maximum": 100,
                "default": 20,
                "description": "Nearest neighbours whose mean distance measures how typical an example is.",
            },
        ),
        needs=("features",),
        tasks=EVERY_TASK,
        cost="k-means on s = 20,000 rows, O(s k d) an iteration; then O(n (k + r) d) for neighbours among at most "
        "r = 2,048 members of a cluster.",
    ),
    StrategyEntry(
        name="probcover",
        summary="Repeatedly the example within whose radius most examples lie that no label or pick is near to.",
        paper="Yehuda, Dekel, Hacohen and Weinshall 2022, arXiv 2205.11320",
        kind="selector",
        parameters=schema_of(
            radius={
                "type": ["number", "null"],
                "minimum": 0.001,
                "maximum": 1000,
                "default": None,
                "description": "In units of the pool's root mean square distance from its centre; null: the largest "
                "at which 95 % of the neighbourhoods hold one of as many k-means clusters as there are classes.",
            },
            max_candidates=MAX_CANDIDATES,
        ),
        needs=("features",),
        tasks=EVERY_TASK,
        cost="O(n m d) for coverage of m = 20,000 candidates, and O(10,000^2 d) for the radius.",
    ),
    StrategyEntry(
        name="max_herding",
        summary="Repeatedly the example that adds most to how well the pool is covered, by a smooth kernel.",
        paper="Bae, Noh and Sutherland 2024, arXiv 2407.12212",
        kind="selector",
        parameters=schema_of(
            bandwidth={
                "type": ["number", "null"],
                "minimum": 0.001,
                "maximum": 1000,
                "default": None,
                "description": "Of the Gaussian kernel, in units of the pool's root mean square distance from its "
                "centre; null: likeness falls to 1/e at the median distance of two examples.",
            },
            max_candidates=MAX_CANDIDATES,
        ),
        needs=("features",),
        tasks=EVERY_TASK,
        cost="O(n m d log k) for coverage of m = 5,000 candidates.",
    ),
    StrategyEntry(
        name="density",
        summary="The examples with the most others around them: typical ones first, without regard to one another.",
        paper="Settles and Craven 2008, section 3.4, doi 10.3115/1613715.1613855",
        kind="scorer",
        parameters=schema_of(
            bandwidth={
                "type": "number",
                "minimum": 0.01,
                "maximum": 100,
                "default": 1.0,
                "description": "Width of the Gaussian kernel, in units of the median distance to the sqrt(m)-th "
                "nearest of the m sampled examples.",
            },
            reference={
                "type": "integer",
                "minimum": 100,
                "maximum": 10_000,
                "default": 2_000,
                "description": "How many examples, drawn at random, the likeness is averaged over.",
            },
        ),
        needs=("features",),
        tasks=EVERY_TASK,
        cost="O(n m d) for m reference examples.",
    ),
)
