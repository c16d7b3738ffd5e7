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
)
