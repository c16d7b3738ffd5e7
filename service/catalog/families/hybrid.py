"""Strategies that weigh uncertainty and diversity."""

from service.catalog.entries import StrategyEntry, schema_of

ENTRIES: tuple[StrategyEntry, ...] = (
    StrategyEntry(
        name="badge",
        summary="k-means++ over the gradients that the likeliest labels would cause: uncertain and different examples.",
        paper="Ash et al. 2020, arXiv 1906.03671",
        kind="selector",
        parameters=schema_of(),
        needs=("features", "predictions"),
        cost="O(n k (d + C)) time, O(n (d + C)) memory; of more than 1,000,000 candidates, a random sample.",
    ),
    StrategyEntry(
        name="diverse_mini_batch",
        summary="The smallest margins, clustered by k-means weighted with uncertainty: one example of each cluster.",
        paper="Zhdanov 2019, arXiv 1901.05954",
        kind="selector",
        parameters=schema_of(
            oversampling={
                "type": "integer",
                "minimum": 1,
                "maximum": 100,
                "default": 10,
                "description": "Smallest margins clustered per example of the batch; 1 is plain margin.",
            },
        ),
        needs=("features", "predictions"),
        cost="O(n C) for the margins, then k-means on oversampling x k rows.",
    ),
    StrategyEntry(
        name="cluster_margin",
        summary="The smallest margins, in hierarchical clusters that take turns, the smallest cluster first.",
        paper="Citovsky et al. 2021, arXiv 2107.14263",
        kind="selector",
        parameters=schema_of(
            oversampling={
                "type": "integer",
                "minimum": 1,
                "maximum": 100,
                "default": 10,
                "description": "Smallest margins clustered per example of the batch; 1 is plain margin.",
            },
            clusters={
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 10,
                "default": 0.25,
                "description": "Clusters per example of the batch; more give outliers more room.",
            },
        ),
        needs=("features", "predictions"),
        cost="O(n C) for the margins, then O(m^2 d) for m = oversampling x k candidates, of which 4,096 are linked.",
    ),
    StrategyEntry(
        name="uncertainty_herding",
        summary="Covers the pool where the model is uncertain: typical examples at first, uncertain ones later.",
        paper="Bae, Oliveira and Sutherland 2025, arXiv 2412.20644",
        kind="selector",
        parameters=schema_of(
            temperature={
                "type": ["number", "null"],
                "minimum": 0.05,
                "maximum": 100,
                "default": 1.0,
                "description": "Divides the logits: high makes all examples alike. Null: told from the labels.",
            },
            radius={
                "type": ["number", "null"],
                "minimum": 0.01,
                "maximum": 1000,
                "default": None,
                "description": "How far a label covers; rows have a mean squared length of 1. Null: told from labels.",
            },
        ),
        needs=("features", "predictions"),
        cost="O(n^2 d log k) time, O(n) memory; of more than 10,000 candidates, a random sample.",
    ),
    StrategyEntry(
        name="drop_query",
        summary="Examples whose predicted class changes when features are dropped at random: one of each cluster.",
        paper="Gupte et al. 2024, arXiv 2401.14555",
        kind="selector",
        parameters=schema_of(
            dropout={
                "type": "number",
                "minimum": 0.01,
                "maximum": 0.99,
                "default": 0.75,
                "description": "Share of the features that is dropped in each pass.",
            },
            passes={
                "type": "integer",
                "minimum": 1,
                "maximum": 20,
                "default": 3,
                "description": "How often features are dropped; more than half of the passes must change the class.",
            },
        ),
        needs=("features", "predictions", "model"),
        cost="O(n d C) for each of the `passes` over n candidates (1,000,000 at most), then k-means on 20,000 at most.",
    ),
    StrategyEntry(
        name="information_density",
        summary="Uncertain examples that are like many others of the pool.",
        paper="Settles and Craven 2008, doi 10.3115/1613715.1613855",
        kind="scorer",
        parameters=schema_of(
            uncertainty={
                "type": "string",
                "enum": ["entropy", "margin", "least_confident"],
                "default": "entropy",
                "description": "What the density is multiplied with.",
            },
            beta={
                "type": "number",
                "minimum": 0,
                "maximum": 10,
                "default": 1.0,
                "description": "Power of the density; 0 leaves the uncertainty alone.",
            },
        ),
        needs=("features", "predictions"),
        cost="O(n (C + d)): one pass over the pool's probabilities and features.",
    ),
    StrategyEntry(
        name="ranked_batch",
        summary="Examples unlike all labelled and picked ones, and the more uncertain the more labels there are.",
        paper="Cardoso et al. 2017, doi 10.1016/j.ins.2016.10.037",
        kind="selector",
        parameters=schema_of(
            uncertainty={
                "type": "string",
                "enum": ["least_confident", "margin", "entropy"],
                "default": "least_confident",
                "description": "The measure of uncertainty.",
            },
        ),
        needs=("features", "predictions"),
        cost="O(n d (m + k)) for m labels, lazily; of more than 250,000 candidates, a random sample.",
    ),
)
