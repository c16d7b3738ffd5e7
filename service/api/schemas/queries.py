"""Queries in, batches out."""

from typing import Annotated, Any

from pydantic import Field

from service.actions.queries import Wish
from service.api.schemas.base import AnnotatorName, Scalar, Schema, StrategyName, Text, Time, example


class Candidates(Schema):
    """Narrow the pool before the strategy chooses."""

    strategy: StrategyName = Field(description="A strategy that scores each example, such as `margin`.")
    params: dict[str, Any] | None = Field(default=None, max_length=50)
    count: int = Field(ge=1, le=10_000_000, description="How many of the best are left.")


class QueryIn(Schema):
    """A wish for a batch. What is left out is the project's default."""

    model_config = example(
        {"k": 20, "annotator": "alice"},
        {
            "k": 50,
            "strategy": "k_center",
            "candidates": {"strategy": "margin", "count": 5000},
            "filter": {"language": "en"},
            "explore": 0.1,
            "lease_seconds": 0,
            "seed": 7,
        },
    )

    k: int = Field(ge=1, description="How many examples.")
    strategy: StrategyName | None = None
    params: dict[str, Any] | None = Field(default=None, max_length=50)
    annotator: AnnotatorName | None = Field(default=None, description="Who will label; gets own open leases first.")
    lease_seconds: int | None = Field(default=None, ge=0, le=604_800, description="0 takes no lease.")
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    filter: dict[Text, Scalar] | None = Field(
        default=None, min_length=1, max_length=20, description="Only examples whose `data` has these values."
    )
    candidates: Candidates | None = None
    explore: float = Field(default=0.0, ge=0.0, le=1.0, description="Share drawn at random.")
    class_balanced: bool = Field(
        default=False,
        description="Give each predicted class its share of the batch, those with the fewest labels first. "
        "Works with every strategy, once there is a model.",
    )
    include_data: bool = True

    def wish(self) -> Wish:
        """For the action."""
        return Wish(**{**dict(self), "candidates": self.candidates.model_dump() if self.candidates else None})


class StrategyNote(Schema):
    """Which strategy ranked, with which parameters, and what it stands in for."""

    name: str
    params: dict[str, Any]
    seed: int
    fallback_from: str | None
    fallback_reason: str | None = Field(
        description="no_model, one_class, one_group, too_few_labels, no_committee or no_features."
    )


class ModelNote(Schema):
    """The model that ranked, and how stale it is.

    Of your own model, `labels_used` are the labelled examples when its first predictions were uploaded, and
    `labels_since` the changes of labels since then.
    """

    version: int
    labels_used: int
    labels_since: int
    training_job_id: str | None
    name: str | None = Field(default=None, description="Of your own model; null: trained here.")


class PoolNote(Schema):
    """What could have been picked."""

    candidates: int
    without_predictions: int = Field(
        default=0,
        description="Candidates that were left out because the serving model is your own and no prediction of it was "
        "uploaded for them. They are not among `candidates`.",
    )
    group_mates: int = Field(
        default=0,
        description="Candidates that were left out because another of their `group` is ranked. A batch that is not "
        "full for them is not `exhausted`: ask for another.",
    )


class LeaseNote(Schema):
    """Until when the batch is reserved, and for whom."""

    annotator: str | None
    expires_at: Time


class Reason(Schema):
    """Why an example has its rank."""

    strategy: str = Field(
        description="What ranked it: for `auto`, the part at work; `random` or `holdout` when drawn; `audit` when a "
        "model would have labelled it, and people shall tell whether it is right."
    )
    value: float | None = Field(
        description="The strategy's own figure, such as the margin; null where gold questions are asked."
    )
    explore: bool = Field(description="Drawn at random, for honest metrics.")
    propensity: float | None = Field(description="With which probability a candidate was drawn; null: not at random.")
    priority: float | None = Field(
        default=None, description="The example's own, which went before its score; null: none, or drawn at random."
    )
    pinned: bool = Field(default=False, description="It came first because it is pinned.")


class ClassPrediction(Schema):
    """What the model says of classes."""

    label: str | list[str] = Field(description="The most probable class, or all classes with at least 0.5.")
    probabilities: dict[str, float]


class NumberPrediction(Schema):
    """What the model says of a number."""

    mean: float
    spread: float = Field(description="One standard deviation: how far the truth may lie from the mean.")


Prediction = ClassPrediction | NumberPrediction


class _Shown(Schema):
    """An example, and what is said of it."""

    example_id: str
    score: float | None = Field(description="Higher: label sooner. Where gold questions are asked: of the rank alone.")
    data: dict[str, Any] | None = None
    prediction: Prediction | None = Field(
        description="Of the serving model; with `label_errors`, of models that were trained without the example; with "
        "`disputed`, none."
    )
    current_label: str | None = Field(
        default=None, description="With `label_errors` and `disputed` only: the label under review."
    )
    suggested_label: str | None = Field(
        default=None,
        description="With `label_errors`: the class that the other labels suggest; null when they are too few. With "
        "`disputed`: the most probable one when annotators are weighed (Dawid and Skene 1979).",
    )


class Item(_Shown):
    """A ranked example."""

    rank: int
    reason: Reason


class BatchNote(Schema):
    """How a batch was made."""

    job_id: str
    project_id: str
    created_at: Time
    strategy: StrategyNote
    model: ModelNote | None
    pool: PoolNote
    lease: LeaseNote | None
    exhausted: bool = Field(description="Nothing more is left.")


class BatchOut(BatchNote):
    """The ranked answer of a query. It never changes."""

    items: list[Item]


class NextOut(BatchNote, _Shown):
    """The example to label now, with what its ranking says of itself; `job_id` is the `batch_id` of its label.

    Where gold questions are asked, `rank`, `score` and `reason` are null, as a question comes at no place of its own.
    """

    rank: int | None
    reason: Reason | None


class RenewIn(Schema):
    """Prolong the leases of a batch."""

    model_config = example({"lease_seconds": 1800})

    lease_seconds: int = Field(ge=1, le=604_800)


class ReleaseIn(Schema):
    """Give examples of a batch back."""

    model_config = example({"example_ids": ["a17"]}, {})

    example_ids: Annotated[list[Text], Field(fail_fast=True, max_length=10_000)] | None = Field(
        default=None, description="Left out: all."
    )


class LeasesChanged(Schema):
    """How many leases were changed."""

    job_id: str
    changed: int
