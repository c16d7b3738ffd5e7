"""The featurizers that `GET /v1/featurizers` lists."""

from collections.abc import Mapping

from service.catalog.entries import FeaturizerEntry, schema_of
from service.catalog.plugins import with_plugins
from service.catalog.tasks import EVERY_TASK

_ENTRIES = (
    FeaturizerEntry(
        name="vector",
        summary="The uploaded vector itself. Means and scales are learnt by the model, so any units will do.",
        parameters=schema_of(),
        serves="vector",
        tasks=EVERY_TASK,
    ),
    FeaturizerEntry(
        name="text",
        summary="Hashed counts of words and word n-grams. TF-IDF weights are learnt by the model from the pool.",
        parameters=schema_of(
            n_features={
                "type": "integer",
                "minimum": 2**10,
                "maximum": 2**22,
                "default": 2**18,
                "description": "Number of hash buckets (columns).",
            },
            max_ngram={
                "type": "integer",
                "minimum": 1,
                "maximum": 3,
                "default": 2,
                "description": "Longest word n-gram; 2 counts words and pairs of words.",
            },
            lowercase={"type": "boolean", "default": True, "description": "Fold case before counting."},
        ),
        serves="text",
        tasks=EVERY_TASK,
    ),
    FeaturizerEntry(
        name="none",
        summary="No features: no model is trained, and batches come from uploaded predictions.",
        parameters=schema_of(),
        serves="none",
        tasks=EVERY_TASK,
    ),
)

FEATURIZERS: Mapping[str, FeaturizerEntry] = with_plugins(FeaturizerEntry, _ENTRIES)
