"""What needs no family: the default and the baseline."""

from service.catalog.entries import StrategyEntry, schema_of

ENTRIES: tuple[StrategyEntry, ...] = (
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
        cost="O(n C) for the margins, then k-means on oversampling x k rows.",
    ),
    StrategyEntry(
        name="random",
        summary="A uniform random draw: the baseline of every comparison.",
        paper="",
        kind="scorer",
        parameters=schema_of(),
        needs=(),
        cost="O(n): one hash per candidate.",
    ),
)
