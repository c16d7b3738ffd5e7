"""How far a project has come."""

from typing import Any, Literal, Self

from pydantic import Field

from service.actions.goals import Outlook
from service.api.schemas.base import Schema
from service.api.schemas.models import CurvePoint
from service.api.schemas.projects import LabelCounts
from service.catalog.stopping_rules import RECALL


class StoppingRule(Schema):
    """What a stopping rule says now."""

    name: str
    value: float | None
    threshold: float
    met: bool
    explanation: str


class Stopping(Schema):
    """Whether labelling may stop."""

    suggested: bool = Field(description="Whether a rule is met.")
    rules: list[StoppingRule]


class Range(Schema):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Recall(Schema):
    """How much of the goal's class is found, by the held-out share, which is drawn at random."""

    find: str
    target: float
    found: int | None = Field(description="Labelled examples of the class.")
    drawn: int | None = Field(description="Labelled examples of the held-out share that were drawn at random.")
    positives: int | None = Field(description="Those of the class among them.")
    recall: Range | None
    remaining: Range | None = Field(description="Examples of the class that have no label yet.")
    reason: Literal["no_holdout", "nothing_drawn", "holdout_picked", "not_estimated"] | None = Field(
        description="Why there is no estimate. `holdout_picked`: a strategy or a filter picked some of the held-out "
        "part, as it can before `holdout_fraction` is what it is. `not_estimated`: no training has ended since the "
        "goal was set."
    )

    @classmethod
    def of(cls, outlook: Outlook) -> Self | None:
        """Of the goal; none where no class is to be found."""
        goal = outlook.goal
        if "find" not in goal:
            return None
        told = outlook.estimates.get("recall") or {**_NOTHING_FOUND, "reason": "not_estimated"}
        return cls.model_validate({"find": goal["find"], "target": goal.get("recall", RECALL), **told})


class LabelsLeft(Schema):
    """How many more labels the goal takes, by a power law through the learning curve (Figueroa et al. 2012)."""

    metric: str
    target: float
    labels: int | None = Field(description="More than the newest model learnt. 0: it has reached the target.")
    low: int | None = Field(description="Of the 95 % interval.")
    high: int | None = Field(description="Null where it may take for ever.")
    biased: bool | None = Field(
        description="True where only labels that were picked could measure: then the curve is no fair one."
    )
    points: int | None = Field(description="Models on the curve.")
    reason: Literal["reached", "too_few_points", "flat", "unreachable", "not_estimated"] | None = Field(
        description="Why there is no estimate: fewer than 5 models, a curve that does not rise, or one that ends below "
        "the target. `reached`: the figure itself, which its interval may not. `not_estimated`: no training has ended "
        "since the goal was set."
    )

    @classmethod
    def of(cls, outlook: Outlook) -> Self | None:
        """Of the goal; none where no metric is to be reached."""
        goal = outlook.goal
        if "metric" not in goal:
            return None
        told = outlook.estimates.get("labels_left") or {**_NOTHING_LEFT, "reason": "not_estimated"}
        return cls.model_validate({**told, "metric": goal["metric"], "target": goal["at_least"]})


_NOTHING_FOUND = dict.fromkeys(("found", "drawn", "positives", "recall", "remaining"))
_NOTHING_LEFT = dict.fromkeys(("labels", "low", "high", "biased", "points"))


class ProgressOut(Schema):
    """How far a project has come."""

    labels: LabelCounts
    curve: list[CurvePoint]
    goal: dict[str, Any]
    estimated_by: int | None = Field(description="The model after whose training the rest was estimated.")
    recall: Recall | None = Field(description="Where the goal names a class to find.")
    labels_left: LabelsLeft | None = Field(description="Where the goal names a metric.")
    stopping: Stopping

    @classmethod
    def of(cls, labels: LabelCounts, curve: list[CurvePoint], outlook: Outlook) -> Self:
        """From the counters, the models and what the newest of them says of the goal."""
        rules = [StoppingRule.model_validate(rule) for rule in outlook.estimates.get("rules", [])]
        return cls(
            labels=labels,
            curve=curve,
            goal=outlook.goal,
            estimated_by=outlook.model_version,
            recall=Recall.of(outlook),
            labels_left=LabelsLeft.of(outlook),
            stopping=Stopping(suggested=any(rule.met for rule in rules), rules=rules),
        )
