"""The shapes of catalogue entries: what a client may name in a request, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from service.catalog.tasks import Task

Schema = Mapping[str, Any]
"""A JSON Schema object, in the subset that `service.catalog.parameters` checks."""

Need = Literal["predictions", "committee", "features", "labels", "answers", "model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyEntry:
    """A query strategy.

    `kind` says how it composes: a scorer ranks rows one by one, a selector picks a set, a composite does both.
    `picks` says among what: the pool's examples that lack answers, or labelled ones, which it has reviewed.
    """

    name: str
    summary: str
    paper: str
    kind: Literal["scorer", "selector", "composite"]
    parameters: Schema
    needs: tuple[Need, ...]
    tasks: tuple[Task, ...] = ("classification",)
    cost: str
    picks: Literal["pool", "labelled"] = "pool"


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorEntry:
    """A kind of model that trains on the labels. `onnx`: those of vectors and single classes can be had in ONNX."""

    name: str
    summary: str
    parameters: Schema
    needs: tuple[Need, ...] = ("features", "labels")
    tasks: tuple[Task, ...] = ("classification",)
    onnx: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturizerEntry:
    """How uploaded content becomes the numeric matrix; `serves` is the project's `features.type`.

    `extra` is the optional extra of gleaner that brings the `packages` which it needs.
    """

    name: str
    summary: str
    parameters: Schema
    serves: Literal["vector", "text", "tabular", "none"]
    tasks: tuple[Task, ...] = ("classification",)
    extra: str | None = None
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingRuleEntry:
    """A rule that suggests when more labels no longer pay."""

    name: str
    summary: str
    parameters: Schema
    needs: tuple[Need, ...]
    tasks: tuple[Task, ...] = ("classification",)


def schema_of(**properties: Schema) -> Schema:
    """The schema of an entry's parameters: these properties and no others; those without a default are required."""
    needed = [name for name, rule in properties.items() if "default" not in rule]
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": needed} if needed else schema
