"""What needs no family: the default and the baseline."""

from service.catalog.entries import StrategyEntry, schema_of
from service.catalog.tasks import EVERY_TASK

ENTRIES: tuple[StrategyEntry, ...] = (
    StrategyEntry(
        name="auto",
        summary="Typical examples before there is a model, then coverage weighted by uncertainty while labels are few, "
        "then the least certain by margin, spread over clusters. Several classes an example: the pool in clusters, "
        "weighted by entropy. Numbers: largest cluster maximum distance. The default.",
        paper="Zhdanov 2019, arXiv 1901.05954; few labels: Bae et al. 2025, arXiv 2412.20644; none: Hacohen et al. "
        "2022, arXiv 2202.02794; numbers: Holzmueller et al. 2023, arXiv 2203.09410",
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
                "default": 1_000,
                "description": "Coverage counts up to ten labels per class, and up to this many labels at the latest.",
            },
        ),
        needs=("features", "predictions"),
        tasks=EVERY_TASK,
        cost="Few labels: O(m^2 d log k) on a random sample of m = 3,000 candidates. Later: O(n C) for margins, then "
        "k-means on oversampling x k rows.",
    ),
    StrategyEntry(
        name="random",
        summary="A uniform random draw: the baseline of every comparison.",
        paper="",
        kind="scorer",
        parameters=schema_of(),
        needs=(),
        tasks=EVERY_TASK,
        cost="O(n): one hash per candidate.",
    ),
)
