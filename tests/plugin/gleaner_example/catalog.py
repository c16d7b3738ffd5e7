"""What the plug-in adds to the catalogue: data alone."""

from service.catalog.entries import EstimatorEntry, FeaturizerEntry, StrategyEntry, schema_of
from service.catalog.estimator_families.shared import COMMITTEE, SCALING

ENTRIES = (
    EstimatorEntry(
        name="example_centroids",
        summary="The nearest mean of a class.",
        parameters=schema_of(
            sharpness={
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1000,
                "default": 4.0,
                "description": "How sure it is of the nearest.",
            },
            **SCALING,
            **COMMITTEE,
        ),
    ),
    StrategyEntry(
        name="example_runner_up",
        summary="The probability of the second best class.",
        paper="",
        kind="scorer",
        parameters=schema_of(),
        needs=("predictions",),
        cost="O(n C).",
    ),
    FeaturizerEntry(
        name="example_letters",
        summary="Counts of letters.",
        parameters=schema_of(),
        serves="text",
    ),
    FeaturizerEntry(
        name="example_lengths",
        summary="How many letters and words a text has.",
        parameters=schema_of(
            logarithm={"type": "boolean", "default": False, "description": "Take logarithms of the counts."}
        ),
        serves="text",
    ),
    FeaturizerEntry(
        name="example_totals",
        summary="How many numbers a row has, and their sum.",
        parameters=schema_of(),
        serves="tabular",
    ),
)
