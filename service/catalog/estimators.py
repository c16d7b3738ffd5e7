"""The estimators that `GET /v1/estimators` lists."""

from collections.abc import Mapping

from service.catalog.entries import EstimatorEntry, Schema, schema_of
from service.catalog.tasks import EVERY_TASK, Task

DEFAULT_ESTIMATORS: Mapping[Task, str] = {
    "classification": "logistic_regression",
    "multi_label": "logistic_regression",
    "regression": "random_forest",
}

_CLASS_WEIGHT: Schema = {
    "type": ["string", "null"],
    "enum": [None, "balanced"],
    "default": None,
    "description": "`balanced` weighs classes by the inverse of their share of the labels.",
}

_MOST_MEMBERS = 20

_COMMITTEE: Mapping[str, Schema] = {
    "committee": {
        "type": "integer",
        "enum": [0, *range(2, _MOST_MEMBERS + 1)],
        "default": 0,
        "description": "Members of the committee that is trained beside the model, for the strategies that need one; "
        "0: none.",
    },
    "committee_of": {
        "type": "string",
        "enum": ["bootstrap", "estimators"],
        "default": "bootstrap",
        "description": "`bootstrap`: this estimator on samples of the labels, drawn with replacement within each "
        "class. `estimators`: every kind of estimator in turn, with its defaults, on all labels; on such samples once "
        "a kind comes again.",
    },
}

_ENTRIES = (
    EstimatorEntry(
        name="logistic_regression",
        summary="Multinomial logistic regression with L2 penalty on scaled features. Fast, calibrated, the default.",
        tasks=("classification", "multi_label"),
        parameters=schema_of(
            C={
                "type": ["number", "null"],
                "exclusiveMinimum": 0,
                "maximum": 1e6,
                "default": None,
                "description": "Inverse penalty, for features scaled to a mean squared length of 1. "
                "null: chosen by cross-validation on log-loss once there are 10 labels a class; "
                "10 x sqrt(classes / 2) before.",
            },
            scaling={
                "type": "string",
                "enum": ["auto", "columns", "shared"],
                "default": "auto",
                "description": "Of vectors: each column by its own deviation (`columns`), all by one (`shared`: pixels,"
                " embeddings), or `auto`: `shared` when the columns span similar ranges.",
            },
            latent={
                "type": "integer",
                "minimum": 0,
                "maximum": 300,
                "default": 64,
                "description": "Of text: dimensions of latent semantics, learnt from the unlabelled pool and put "
                "beside the terms. Few labels go much further with them. 0: terms alone.",
            },
            class_weight=_CLASS_WEIGHT,
            **_COMMITTEE,
        ),
    ),
    EstimatorEntry(
        name="random_forest",
        summary="Random forest. For raw tables whose classes no straight line separates; slower to load and score.",
        tasks=EVERY_TASK,
        parameters=schema_of(
            n_estimators={
                "type": "integer",
                "minimum": 10,
                "maximum": 1000,
                "default": 100,
                "description": "Number of trees.",
            },
            max_depth={
                "type": ["integer", "null"],
                "minimum": 1,
                "maximum": 100,
                "default": None,
                "description": "Deepest level; null: grown until the leaves are pure.",
            },
            min_samples_leaf={
                "type": "integer",
                "minimum": 1,
                "maximum": 1000,
                "default": 1,
                "description": "Fewest labels in a leaf; more gives smoother probabilities.",
            },
            class_weight=_CLASS_WEIGHT,
            **_COMMITTEE,
        ),
    ),
)

ESTIMATORS: Mapping[str, EstimatorEntry] = {entry.name: entry for entry in _ENTRIES}
