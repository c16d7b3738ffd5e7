"""Whose labels models learn from: people's, programs', or those that models have made as well."""

from collections.abc import Mapping
from typing import Any, Literal, cast

LearnFrom = Literal["people", "programs", "everything"]

OF_MODELS = "aut_"
"""How the names of annotators begin that are groups of self-labelling; nobody else may have such a name."""


def learns_from(retraining: Mapping[str, Any]) -> LearnFrom:
    """What a project's `retraining` says; one of an earlier release says nothing."""
    return cast("LearnFrom", retraining.get("learn_from", "programs"))


def is_learnt(learn_from: LearnFrom, source: str, annotator: str) -> bool:
    """Whether models learn from a label."""
    if source == "human" or learn_from == "everything":
        return True
    return learn_from == "programs" and not annotator.startswith(OF_MODELS)
