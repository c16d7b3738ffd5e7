"""Self-labelling in and out."""

from typing import Annotated, Any, Literal

from pydantic import Field

from service.actions.autolabels import AutolabelView
from service.api.schemas.base import Schema, Time, example


class AutolabelIn(Schema):
    """Let the serving model label what it is sure enough of."""

    model_config = example({"target_precision": 0.99, "audit_share": 0.05}, {"dry_run": True})

    target_precision: float = Field(
        default=0.99, ge=0.5, le=0.9999, description="The least share of right labels, of those that are made."
    )
    confidence_level: float = Field(
        default=0.95, ge=0.5, le=0.9999, description="How sure that has to be, by what unbiased rows say."
    )
    audit_share: float = Field(
        default=0.05, ge=0.0, le=0.5, description="Share of what could be labelled that is left to people, blindly."
    )
    max_labels: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Label so many of them at most, drawn at random."
    )
    dry_run: bool = Field(default=False, description="Tell what would be done, and do nothing.")


class Precision(Schema):
    """A share of `n` examples with its interval."""

    value: float
    low: float
    high: float
    n: int


class Evidence(Schema):
    """The unbiased rows by where they are from: labelled by people, and never picked by a strategy."""

    test: int = Field(description="Test rows.")
    holdout: int = Field(description="Of the held-out part of the pool.")
    random: int = Field(description="Drawn at random for a batch, and labelled since the model was trained.")


class Refusal(Schema):
    """Why nothing was labelled."""

    code: Literal["too_few_unbiased_rows", "target_not_met", "nothing_to_label"]
    detail: str


class AutolabelOut(Schema):
    """A group of labels that a model made; its id is their annotator, and their source is `automated`."""

    id: str
    project_id: str
    job_id: str
    revocation_job_id: str | None
    state: Literal[
        "queued", "labelling", "labelled", "tried", "refused", "failed", "cancelled", "revoking", "revoked"
    ] = Field(description="`tried`: a dry run. `failed`, `cancelled`: its job was; it may have labels.")
    target_precision: float
    confidence_level: float
    audit_share: float
    max_labels: int | None
    dry_run: bool
    model_version: int | None
    threshold: float | None = Field(description="From which probability of the best class on labels are made.")
    precision: Precision | None = Field(
        description="Of the unbiased rows above the threshold. `low` is at least the target at the confidence level."
    )
    evidence: Evidence | None
    scope: Literal["pool", "new"] | None = Field(
        description="What could be labelled: the unlabelled `pool`, or what is `new` since the last group, as too few "
        "unbiased rows tell of what that one has left."
    )
    coverage: float | None = Field(description="The share of these that is above the threshold.")
    refusal: Refusal | None
    labels: int = Field(description="Labels that it made; taken back when it was revoked.")
    audit: int = Field(description="Examples that were left to people.")
    audited: Precision | None = Field(description="How often people said the same of these.")
    created_at: Time
    finished_at: Time | None

    @classmethod
    def of(cls, view: AutolabelView) -> "AutolabelOut":
        """From the action's view."""
        outcome: dict[str, Any] = view.group.outcome or {}
        told = ("threshold", "precision", "evidence", "scope", "coverage", "refusal")
        kept = [name for name in cls.model_fields if name not in {*told, "audit", "audited", "state"}]
        return cls.model_validate(
            {
                **{name: getattr(view.group, name) for name in kept},
                **{name: outcome.get(name) for name in told},
                "state": view.state,
                "audit": outcome.get("audit", 0),
                "audited": view.audited and Precision.model_validate(view.audited),
            }
        )
