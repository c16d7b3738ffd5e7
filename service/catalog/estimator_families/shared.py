"""Parameters that several estimators have."""

from collections.abc import Mapping

from service.catalog.entries import Schema
from service.catalog.tasks import Task

CLASSES: tuple[Task, ...] = ("classification", "multi_label")
"""What an estimator serves that tells classes apart: with several of them an example, one model for each."""

_MOST_MEMBERS = 20

CLASS_WEIGHT: Mapping[str, Schema] = {
    "class_weight": {
        "type": ["string", "null"],
        "enum": [None, "balanced"],
        "default": None,
        "description": "`balanced` weighs classes by the inverse of their share of the labels.",
    },
}

SCALING: Mapping[str, Schema] = {
    "scaling": {
        "type": "string",
        "enum": ["auto", "columns", "shared"],
        "default": "auto",
        "description": "Of vectors: each column by its own deviation (`columns`), all by one (`shared`: pixels,"
        " embeddings), or `auto`: `shared` when the columns span similar ranges.",
    },
}

LATENT: Mapping[str, Schema] = {
    "latent": {
        "type": "integer",
        "minimum": 0,
        "maximum": 300,
        "default": 64,
        "description": "Of text: dimensions of latent semantics, learnt from the unlabelled pool and put "
        "beside the terms. Few labels go much further with them. 0: terms alone.",
    },
}

LATENT_ALONE: Mapping[str, Schema] = {
    "latent": {
        "type": "integer",
        "minimum": 1,
        "maximum": 300,
        "default": 64,
        "description": "Of text: dimensions of latent semantics, learnt from the unlabelled pool. They are all that "
        "this estimator sees of a text.",
    },
}

COMMITTEE: Mapping[str, Schema] = {
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
        "description": "`bootstrap`: this estimator on samples of the labels, drawn with replacement (of single "
        "classes, within each). `estimators`: six quick kinds of estimator in turn, with their defaults, on all "
        "labels; on such samples once a kind comes again.",
    },
}
