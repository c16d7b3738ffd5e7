"""The `webhooks` section of the OpenAPI document: what receivers are sent."""

from typing import Any

from service.catalog.events import EVENTS, REQUEST, EventEntry

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
_ANNOTATOR = _object("The program.", id={"type": "string"}, name={"type": "string"}, reason={"type": "string"})
_WEBHOOK = _object("The webhook.", "reason", id={"type": "string"}, reason={"type": "string"})

SCHEMA = _object(
    "The body of a webhook, under 20 kB. Members may be added in time.",
    type={"type": "string", "enum": list(EVENTS)},
    timestamp={"type": "string", "format": "date-time", "description": "When it happened."},
    sequence={"type": "integer", "minimum": 1, "description": "Counts the webhook's events; retries may overtake."},
    data=_object(
        "What happened. Which of the optional members there are depends on the event.",
        *("batch", "error", "webhook", "annotator"),
        project_id=_ID,
        job_id=_ID,
        model=_MODEL,
        batch=_BATCH,
        error=_ERROR,
        webhook=_WEBHOOK,
        annotator=_ANNOTATOR,
    ),
)

_REQUESTED = _object(
    "A batch for a program to label.",
    type={"const": REQUEST},
    timestamp={"type": "string", "format": "date-time"},
    sequence={"type": "integer", "minimum": 1},
    data=_object(
        "What is to be labelled.",
        project_id={"type": "string"},
        job_id={"type": "string", "description": "The `batch_id` of labels that are sent later."},
        annotator={
            "type": "string",
            "description": "The program's name: the `annotator` of labels that are sent later.",
        },
        task={"$ref": "#/components/schemas/Task"},
        labels_url={"type": "string", "description": "Where labels are sent later, with a key of the service."},
        batch={
            "$ref": "#/components/schemas/BatchOut",
            "description": "Its items have no data when they would be more than 1 MiB: fetch the batch.",
        },
    ),
)
_ANSWER = {
    "type": "object",
    "description": "Labels of examples of the batch. Those that are left out go to others.",
    "additionalProperties": False,
    "required": ["labels"],
    "properties": {
        "labels": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["example_id"],
                "properties": {
                    "example_id": {"type": "string"},
                    "label": {"description": "A class, a list of classes or a number, as the task says."},
                    "skip": {"type": "boolean", "description": "Instead of a label: it cannot be labelled."},
                },
            },
        },
        "cost": {"type": "number", "minimum": 0, "description": "In units of `max_cost`."},
    },
}

_HEADERS = {
    "webhook-id": "The delivery's id, the same in every attempt: what came twice can be known by it.",
    "webhook-timestamp": "Of this attempt, in seconds since 1970.",
    "webhook-signature": "`v1,` and the signature (Standard Webhooks 1.0); two, in the day after a rotation.",
}

_OPTIONAL_EXAMPLES = {
    "batch": {"url": "/v1/jobs/job_01jd5k3v7mq8z2x4c6b8n0m1aa/batch", "size": 20},
    "error": {"name": "worker-lost", "detail": "The worker was lost in each of 8 attempts."},
    "webhook": {"id": "whk_01jd5k3v7mq8z2x4c6b8n0m1aa", "reason": "The receiver answered 410 Gone."},
    "annotator": {"id": "ann_01jd5k3v7mq8z2x4c6b8n0m1aa", "name": "rules-1", "reason": "budget_labels"},
}


def section() -> dict[str, Any]:
    """One operation for each event, and the one that programs are sent."""
    return {**{entry.name: {"post": _operation(entry)} for entry in EVENTS.values()}, REQUEST: {"post": _request()}}


def _request() -> dict[str, Any]:
    labels = {"labels": [{"example_id": "a17", "label": "bug"}, {"example_id": "a18", "skip": True}], "cost": 0.02}
    return {
        "operationId": "onAnnotationRequested",
        "tags": ["annotators"],
        "security": [],  # the signature tells who sends it
        "summary": "A batch for a program to label.",
        "parameters": _parameters(),
        "requestBody": {"required": True, "content": {"application/json": {"schema": _REQUESTED}}},
        "responses": {
            "200": {"description": "Labels.", "content": {"application/json": {"schema": _ANSWER, "example": labels}}},
            "202": {"description": "Labels come later, to `labels_url`; the body may tell the `cost`."},
            "410": {"description": "The program is stopped at once."},
            "default": {"description": "Sent again after 5 s, 30 s and 2 min; then the call has failed."},
        },
    }


def _parameters() -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in _HEADERS.items()
    ]


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
        "parameters": _parameters(),
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
    of_job = not {"webhook", "annotator"} & set(entry.carries)
    succeeded = of_job and "error" not in entry.carries
    metrics = {"accuracy": {"value": 0.93, "low": 0.9, "high": 0.95, "method": "test", "biased": False, "n": 400}}
    data = {
        "project_id": "prj_01jd5k3v7mq8z2x4c6b8n0m1aa",
        "job_id": "job_01jd5k3v7mq8z2x4c6b8n0m1aa" if of_job else None,
        "model": {"version": 3, "labels_used": 120, "metrics": metrics} if succeeded else None,
        **{name: _OPTIONAL_EXAMPLES[name] for name in entry.carries},
    }
    return {"type": entry.name, "timestamp": "2026-11-23T12:00:00Z", "sequence": 7, "data": data}
