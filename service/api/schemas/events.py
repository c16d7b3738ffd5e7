"""The `webhooks` section of the OpenAPI document: what receivers are sent."""

from typing import Any

from service.catalog.events import EVENTS, EventEntry

_ID = {"type": ["string", "null"]}


def _object(description: str, *optional: str, **properties: Any) -> dict[str, Any]:
    """An object whose properties are all required, but those named as `optional`."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "description": description, "required": required, "properties": properties}


_MODEL = {
    **_object(
        "The model; null when there is none.",
        version={"type": "integer"},
        labels_used={"type": "integer"},
        metrics={"type": "object", "description": "Left out, `{}`, when it would be too large: ask for the model."},
    ),
    "type": ["object", "null"],
}
_BATCH = _object("A batch that can be fetched.", url={"type": "string"}, size={"type": "integer"})
_ERROR = _object("The problem: its name and a sentence.", name={"type": "string"}, detail={"type": "string"})
_WEBHOOK = _object("The webhook.", "reason", id={"type": "string"}, reason={"type": "string"})

SCHEMA = _object(
    "The body of a webhook, under 20 kB. Members may be added in time.",
    type={"type": "string", "enum": list(EVENTS)},
    timestamp={"type": "string", "format": "date-time", "description": "When it happened."},
    sequence={"type": "integer", "minimum": 1, "description": "Counts the webhook's events; retries may overtake."},
    data=_object(
        "What happened. Which of the optional members there are depends on the event.",
        *("batch", "error", "webhook"),
        project_id=_ID,
        job_id=_ID,
        model=_MODEL,
        batch=_BATCH,
        error=_ERROR,
        webhook=_WEBHOOK,
    ),
)

_HEADERS = {
    "webhook-id": "The delivery's id, the same in every attempt: what came twice can be known by it.",
    "webhook-timestamp": "Of this attempt, in seconds since 1970.",
    "webhook-signature": "`v1,` and the signature (Standard Webhooks 1.0); two, in the day after a rotation.",
}

_OPTIONAL_EXAMPLES = {
    "batch": {"url": "/v1/jobs/job_01jd5k3v7mq8z2x4c6b8n0m1aa/batch", "size": 20},
    "error": {"name": "worker-lost", "detail": "The worker was lost in each of 8 attempts."},
    "webhook": {"id": "whk_01jd5k3v7mq8z2x4c6b8n0m1aa", "reason": "The receiver answered 410 Gone."},
}


def section() -> dict[str, Any]:
    """One operation for each event."""
    return {entry.name: {"post": _operation(entry)} for entry in EVENTS.values()}


def _operation(entry: EventEntry) -> dict[str, Any]:
    carried = {
        "properties": {
            "type": {"const": entry.name},
            "data": {"required": list(entry.carries)},
        }
    }
    schema = {"allOf": [{"$ref": "#/components/schemas/Event"}, carried]}
    return {
        "operationId": "on" + entry.name.replace(".", " ").title().replace(" ", ""),
        "tags": ["webhooks"],
        "security": [],  # the signature tells who sends it
        "summary": entry.summary,
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for name, text in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": _example(entry)}},
        },
        "responses": {
            "2XX": {"description": "Taken."},
            "410": {"description": "The webhook is disabled at once."},
            "default": {"description": "Tried again later, for about three days; `Retry-After` is obeyed."},
        },
    }


def _example(entry: EventEntry) -> dict[str, Any]:
    of_job = "webhook" not in entry.carries
    succeeded = of_job and "error" not in entry.carries
    metrics = {"accuracy": {"value": 0.93, "low": 0.9, "high": 0.95, "method": "test", "biased": False, "n": 400}}
    data = {
        "project_id": "prj_01jd5k3v7mq8z2x4c6b8n0m1aa",
        "job_id": "job_01jd5k3v7mq8z2x4c6b8n0m1aa" if of_job else None,
        "model": {"version": 3, "labels_used": 120, "metrics": metrics} if succeeded else None,
        **{name: _OPTIONAL_EXAMPLES[name] for name in entry.carries},
    }
    return {"type": entry.name, "timestamp": "2026-11-23T12:00:00Z", "sequence": 7, "data": data}
