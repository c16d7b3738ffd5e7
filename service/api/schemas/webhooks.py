"""Webhooks in and out."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from service.actions.webhooks import DeliveryView
from service.api.schemas.base import Patch, Schema, Text, Time
from service.catalog.events import EVENTS
from service.catalog.names import listed


def _known(events: list[str]) -> list[str]:
    if not set(events) <= set(EVENTS):
        raise ValueError(f"known events are {listed(list(EVENTS))}")
    if len(set(events)) != len(events):
        raise ValueError("each event is named once")
    return events


Url = Annotated[
    Text,
    Field(
        min_length=1,
        max_length=2048,
        description="http or https, to a public address.",
        json_schema_extra={"pattern": "^[hH][tT][tT][pP][sS]?://."},
    ),
]
Events = Annotated[
    list[Annotated[Text, Field(json_schema_extra={"enum": list(EVENTS)})]],
    Field(
        min_length=1,
        max_length=50,
        description="Each once.",
        examples=[["training.succeeded"]],
        json_schema_extra={"uniqueItems": True},
    ),
    AfterValidator(_known),
]


class WebhookIn(Schema):
    """A new webhook."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "url": "https://tool.example.com/hooks/gleaner",
                    "events": ["training.succeeded", "query.succeeded"],
                    "project_id": "prj_01jd5k3v7mq8z2x4c6b8n0m1aa",
                }
            ]
        }
    )

    url: Url
    events: Events
    project_id: Text | None = Field(default=None, description="Only events of this project; else of every project.")


class WebhookPatch(Patch):
    """What to change."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"enabled": True}]})

    url: Url | None = None
    events: Events | None = None
    enabled: bool | None = Field(default=None, description="Enabling clears the reason and sends what was held.")

    def changes(self) -> dict[str, Any]:
        """The fields that were sent."""
        return self.model_dump(exclude_unset=True)


class WebhookOut(Schema):
    """A webhook."""

    id: str
    url: str
    events: list[str]
    project_id: str | None
    enabled: bool
    disabled_reason: str | None = Field(description="Why the service switched it off by itself.")
    created_at: Time
    updated_at: Time


class WebhookWithSecret(WebhookOut):
    """A webhook with its new signing secret, which is shown this once."""

    secret: str | None = Field(default=None, description="`whsec_...`; null when the answer is a replay.")


class AttemptOut(Schema):
    """What came of one attempt."""

    at: Time
    status: int | None = Field(description="Of the receiver's answer; null when none came.")
    duration_ms: int
    error: str | None = Field(description="Why no answer came.")
    excerpt: str | None = Field(description="The beginning of the answer.")


class DeliveryOut(Schema):
    """One event for one webhook."""

    id: str = Field(description="The `webhook-id` header of every attempt.")
    webhook_id: str
    event: str
    sequence: int = Field(description="Counts the webhook's events; retries may overtake each other.")
    state: Literal["pending", "succeeded", "failed"]
    next_attempt_at: Time | None
    created_at: Time
    finished_at: Time | None
    attempts: list[AttemptOut]

    @classmethod
    def of(cls, view: DeliveryView) -> "DeliveryOut":
        """From the action's view."""
        fields = {name: getattr(view.delivery, name) for name in cls.model_fields if name != "attempts"}
        return cls(**fields, attempts=[AttemptOut.model_validate(attempt) for attempt in view.attempts])
