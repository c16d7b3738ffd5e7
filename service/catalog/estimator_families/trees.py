"""Many trees together."""

from collections.abc import Mapping

from service.catalog.entries import EstimatorEntry, Schema, schema_of
from service.catalog.estimator_families.shared import CLASS_WEIGHT, COMMITTEE, LATENT, LATENT_ALONE
from service.catalog.tasks import EVERY_TASK

_TREES: Mapping[str, Schema] = {
    "n_estimators": {
        "type": "integer",
        "minimum": 10,
        "maximum": 1000,
        "default": 100,
        "description": "Number of trees.",
    },
    "max_depth": {
        "type": ["integer", "null"],
        "minimum": 1,
        "maximum": 100,
        "default": None,
        "description": "Deepest level; null: grown until the leaves are pure.",
    },
    "min_samples_leaf": {
        "type": "integer",
        "minimum": 1,
        "maximum": 1000,
        "default": 1,
        "description": "Fewest labels in a leaf; more gives smoother probabilities.",
    },
}

ENTRIES: tuple[EstimatorEntry, ...] = (
    EstimatorEntry(
        name="random_forest",
        onnx=True,
        tasks=EVERY_TASK,
        summary="Random forest. For raw tables whose classes no straight line separates; slower to load and score.",
        parameters=schema_of(**_TREES, **LATENT, **CLASS_WEIGHT, **COMMITTEE),
    ),
    EstimatorEntry(
        name="extra_trees",
        onnx=True,
        tasks=EVERY_TASK,
        summary="Extremely randomised trees. Like a random forest; quicker to train and smoother.",
        parameters=schema_of(**_TREES, **LATENT, **CLASS_WEIGHT, **COMMITTEE),
    ),
    EstimatorEntry(
        name="hist_gradient_boosting",
        tasks=EVERY_TASK,
        summary="Gradient boosting over binned columns. For tables with hundreds of labels or more; one tree for each "
        "class and step, so slow with many classes. Of numbers ten of them, on samples of the labels.",
        parameters=schema_of(
            max_iter={
                "type": "integer",
                "minimum": 1,
                "maximum": 1000,
                "default": 100,
                "description": "Steps, of one tree for each class.",
            },
            learning_rate={
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1,
                "default": 0.1,
                "description": "What is taken of each tree.",
            },
            max_leaf_nodes={
                "type": "integer",
                "minimum": 2,
                "maximum": 255,
                "default": 31,
                "description": "Most leaves of a tree.",
            },
            min_samples_leaf={
                "type": "integer",
                "minimum": 1,
                "maximum": 1000,
                "default": 5,
                "description": "Fewest labels in a leaf.",
            },
            l2_regularization={
                "type": "number",
                "minimum": 0,
                "maximum": 1e6,
                "default": 0.0,
                "description": "Penalty on the values of leaves.",
            },
            **LATENT_ALONE,
            **CLASS_WEIGHT,
            **COMMITTEE,
        ),
    ),
)
