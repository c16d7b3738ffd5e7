"""The catalogue out."""

from typing import Any

from pydantic import Field

from service.api.schemas.base import Schema
from service.catalog.entries import FeaturizerEntry
from service.catalog.featurizers import why_missing


class EntryOut(Schema):
    """What all entries have."""

    name: str
    summary: str
    parameters: dict[str, Any] = Field(description="JSON Schema of `params`.")
    tasks: list[str] = Field(description="Which tasks it serves.")


class NeedyOut(EntryOut):
    """What an entry that reads something of a project has."""

    needs: list[str]


class EstimatorOut(NeedyOut):
    """A kind of model."""

    onnx: bool = Field(
        description="Whether its models can be had in ONNX, of vectors and with one class an example. "
        "`auto`: when what it chose can."
    )


class StrategyOut(NeedyOut):
    """A query strategy."""

    paper: str
    kind: str = Field(description="scorer: ranks one by one; selector: picks a set; composite: both.")
    cost: str
    picks: str = Field(description="pool: examples that lack answers; labelled: those that have one, to be reviewed.")


class FeaturizerOut(EntryOut):
    """How content becomes features."""

    serves: str = Field(description="The `features.type` of a project.")
    extra: str | None = Field(description="The optional extra of gleaner that it needs, if any.")
    installed: bool = Field(description="Whether what it needs is here: else projects with it are refused.")

    @classmethod
    def of(cls, entry: FeaturizerEntry) -> "FeaturizerOut":
        """From the entry."""
        return cls(
            name=entry.name,
            summary=entry.summary,
            parameters=dict(entry.parameters),
            tasks=list(entry.tasks),
            serves=entry.serves,
            extra=entry.extra,
            installed=why_missing(entry) is None,
        )


class StoppingRuleOut(NeedyOut):
    """A rule that suggests to stop labelling."""
