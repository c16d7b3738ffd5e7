"""The featurizers that `GET /v1/featurizers` lists."""

from collections.abc import Mapping
from importlib.util import find_spec

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
        name="embedding",
        summary="Dense vectors of meaning: the mean of the vectors of a text's tokens, by a model that the operator "
        "chooses; at first a small one for English.",
        parameters=schema_of(
            max_tokens={
                "type": "integer",
                "minimum": 8,
                "maximum": 4096,
                "default": 512,
                "description": "Of a longer text this many tokens at its beginning count.",
            },
        ),
        serves="text",
        tasks=EVERY_TASK,
        extra="embedding",
        packages=("model2vec", "wordllama"),
    ),
    FeaturizerEntry(
        name="tabular",
        summary="Columns of numbers, categories, dates and text, which may have gaps. What they mean is learnt from "
        "the pool: medians and deviations, frequent categories, dimensions of text.",
        parameters=schema_of(
            min_frequency={
                "type": "integer",
                "minimum": 1,
                "maximum": 1000,
                "default": 2,
                "description": "Categories of fewer rows, of the 10,000 at most that are looked at, are `other`.",
            },
            max_categories={
                "type": "integer",
                "minimum": 1,
                "maximum": 1000,
                "default": 50,
                "description": "How many categories of a field are told apart at most; the rest, and unseen ones, are "
                "`other`. All fields of a project together have 4,096 at most.",
            },
            latent={
                "type": "integer",
                "minimum": 1,
                "maximum": 256,
                "default": 64,
                "description": "Dimensions that each field of text is condensed to.",
            },
            other_fields={
                "type": "string",
                "enum": ["show", "refuse"],
                "default": "show",
                "description": "Fields of `data` that the schema lacks: shown only, or an error of the row.",
            },
        ),
        serves="tabular",
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


def why_missing(entry: FeaturizerEntry) -> str | None:
    """Why a featurizer cannot be used in this environment; None: it can."""
    if all(find_spec(name) for name in entry.packages):
        return None
    return f"`{entry.name}` needs the extra `{entry.extra}` of gleaner, beside the API and all workers."
