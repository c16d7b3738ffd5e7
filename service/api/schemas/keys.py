"""API keys in and out."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field

from service.api.schemas.base import Name, Schema, Text, Time

Scope = Literal["admin", "project:write", "pool:write", "label:write", "query:run", "read"]


def _distinct(scopes: list[Scope]) -> list[Scope]:
    if len(set(scopes)) != len(scopes):
        raise ValueError("each scope is named once")
    return scopes


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time is outside the calendar") from error


class KeyIn(Schema):
    """A new key."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "annotation tool",
                    "scopes": ["pool:write", "label:write", "query:run", "read"],
                    "project_id": "prj_01jd5k3v7mq8z2x4c6b8n0m1aa",
                    "expires_at": "2030-01-01T00:00:00Z",
                }
            ]
        }
    )

    name: Name
    scopes: Annotated[
        list[Scope],
        Field(min_length=1, max_length=6, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ]
    project_id: Text | None = Field(default=None, description="The only project that the key may see.")
    expires_at: Annotated[AwareDatetime, Field(strict=False), AfterValidator(_in_utc)] | None = None


class RotationIn(Schema):
    """How a key is replaced."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_seconds": 3600}]})

    overlap_seconds: int = Field(default=3600, ge=0, le=2_592_000, description="How long the old key lives on.")


class KeyOut(Schema):
    """A key; the hint is its last four characters."""

    id: str
    name: str
    hint: str
    scopes: list[str]
    project_id: str | None
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None


class KeyWithSecret(KeyOut):
    """A new key, which is shown this once."""

    key: str | None = Field(default=None, description="`gln_...`; null when the answer is a replay.")
