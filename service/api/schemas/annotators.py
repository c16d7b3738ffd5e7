"""Programs that label, in and out; and what they are sent and answer."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from service.actions.annotators import AnnotatorView
from service.api.schemas.base import AnnotatorName, Patch, Schema, Time, example
from service.api.schemas.webhooks import Url
from service.db.tables import AnnotatorCall

BatchSize = Annotated[int, Field(ge=1, le=1000, description="Examples of a batch.")]
LeaseSeconds = Annotated[
    int, Field(ge=60, le=604_800, description="How long a batch is reserved for it: so long it may take to answer.")
]
MaxLabels = Annotated[int, Field(ge=1, le=10_000_000, description="So many labels stop it.")]
MaxCost = Annotated[float, Field(gt=0, le=1e12, description="So many units of `cost`, as it tells them, stop it.")]
State = Literal["active", "stopped"]
Failure = Literal["timeout", "refused", "status", "garbage", "foreign_examples", "expired", "query"]


class AnnotatorIn(Schema):
    """A new program."""

    model_config = example(
        {
            "name": "rules-1",
            "kind": "program",
            "url": "https://labels.example.com/batches",
            "batch_size": 20,
            "max_labels": 500,
            "max_cost": 10.0,
        }
    )

    name: Annotated[AnnotatorName, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,99}$")] = Field(
        description="The `annotator` of its labels; no two of a project have one name."
    )
    kind: Literal["program"] = "program"
    url: Url
    batch_size: BatchSize = 20
    lease_seconds: LeaseSeconds = 600
    max_labels: MaxLabels = 1000
    max_cost: MaxCost | None = None

    def config(self) -> dict[str, Any]:
        """For the action."""
        return self.model_dump(exclude={"kind", "url"})


class AnnotatorPatch(Patch):
    """What to change."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"state": "stopped"}, {"max_labels": 2000}]})

    url: Url | None = None
    batch_size: BatchSize | None = None
    lease_seconds: LeaseSeconds | None = None
    max_labels: MaxLabels | None = None
    max_cost: MaxCost | None = None
    state: State | None = Field(
        default=None, description="`stopped` takes its open batch back; `active` forgets its failures."
    )

    def changes(self) -> dict[str, Any]:
        """The fields that were sent."""
        return self.model_dump(exclude_unset=True)


class CallOut(Schema):
    """A batch that was made for a program, and what came of it."""

    id: str
    job_id: str | None = Field(description="The query; null when it could not even be asked for.")
    delivery_id: str | None = Field(description="The `webhook-id` that it was sent under; null: not sent.")
    state: Literal["ranking", "sent", "accepted", "answered", "failed", "withdrawn"] = Field(
        description="`accepted`: the program answered 202 and will send labels later. `withdrawn`: it was stopped."
    )
    failure: Failure | None = Field(
        description="`refused`: no connection, or not HTTP. `status`: neither 2xx. `garbage`: not a body of labels of "
        "this project. `foreign_examples`: labels of others than were sent. `expired`: nothing came within the lease. "
        "`query`: there was no batch."
    )
    detail: str | None
    size: int = Field(description="Examples of the batch.")
    labels: int = Field(description="Labels that were taken.")
    cost: float
    expires_at: Time | None
    created_at: Time
    finished_at: Time | None


class AnnotatorOut(Schema):
    """A program that labels."""

    id: str
    project_id: str
    name: str
    kind: Literal["program"]
    url: str
    batch_size: int
    lease_seconds: int
    max_labels: int
    max_cost: float | None
    labels_used: int
    cost_used: float
    failures: int = Field(description="Failed calls in a row; five stop it.")
    state: State
    stopped_reason: Literal["by_hand", "budget_labels", "budget_cost", "failures"] | None
    call: CallOut | None = Field(description="The one that has not ended.")
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, view: AnnotatorView) -> "AnnotatorOut":
        """From the action's view."""
        return cls(**_fields(view))


class AnnotatorWithSecret(AnnotatorOut):
    """A program with its new secret, which signs what it is sent and is shown this once."""

    secret: str | None = Field(default=None, description="`whsec_...`; null when the answer is a replay.")

    @classmethod
    def of_new(cls, made: tuple[AnnotatorView, str]) -> "AnnotatorWithSecret":
        """From what the action made."""
        view, secret = made
        return cls(**_fields(view), secret=secret)


def _fields(view: AnnotatorView) -> dict[str, Any]:
    others = {"kind", "url", "call"}
    fields = {name: getattr(view.annotator, name) for name in AnnotatorOut.model_fields if name not in others}
    return {**fields, "kind": "program", "url": view.url, "call": call_out(view.call) if view.call else None}


def call_out(call: AnnotatorCall) -> CallOut:
    """From the row."""
    return CallOut.model_validate(call)
