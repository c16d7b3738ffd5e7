"""The OpenAPI document: what FastAPI cannot know by itself."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from service.api.schemas import events, links
from service.api.schemas.base import FieldProblem, Problem

VERSION = version("gleaner")
METRICS = "/metrics"
DESCRIPTION = """\
Upload a pool of unlabelled examples, send labels as people make them, and get the ranked batch to label next.

Every error is a problem (RFC 9457). Long work is a job: `202`, `Location`, and `Prefer: wait=N` to wait for it.
`Idempotency-Key` on a POST makes it safe to send again. Fields and query parameters that an operation does not have are
refused (`422`).
"""
TAGS = [
    {"name": "projects", "description": "A pool, its labels and its models."},
    {"name": "examples", "description": "The pool: what can be labelled."},
    {"name": "labels", "description": "What annotators said."},
    {"name": "annotators", "description": "Programs that label: what they are sent, may spend and have answered."},
    {"name": "autolabels", "description": "Labels that a model makes, as groups that can be taken back."},
    {"name": "queries", "description": "Which examples should be labelled next, and who holds them."},
    {"name": "models", "description": "Trainings, models, their metrics and predictions."},
    {"name": "jobs", "description": "Queued work, its progress and its end."},
    {"name": "webhooks", "description": "Signed events (Standard Webhooks 1.0) and their deliveries."},
    {"name": "keys", "description": "API keys and their scopes."},
    {"name": "catalogue", "description": "Strategies, estimators, featurizers and stopping rules."},
    {"name": "service", "description": "Health, metrics and what problems mean."},
]


def needs_key(path: str) -> bool:
    """Whether a path is for those with an API key."""
    return path == "/v1" or path.startswith(("/v1/", METRICS))  # "/metrics\n" reaches that route, too


def install(app: FastAPI) -> None:
    """Let the application serve the completed document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = complete(generate())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI documents this way of extending


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add the webhooks and the problem schemas; strip FastAPI's own error schemas, which are never sent."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (Problem, FieldProblem):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        schemas[model.__name__] = schema
    schemas["Event"] = events.SCHEMA
    document["webhooks"] = events.section()
    document["servers"] = [{"url": "/"}]
    for methods in document["paths"].values():
        for operation in methods.values():
            here: list[dict[str, list[str]]] = [{}] if operation.get("x-access", {}).get("free_here") else []
            operation["security"] = [*here, *_any_of(operation.get("security", []))]
    links.add(document)
    return document


def _any_of(security: list[dict[str, list[str]]]) -> list[dict[str, list[str]]]:
    """One of several scopes is enough: FastAPI writes them as if all were needed, and nothing for a public path."""
    return [
        {name: needed}
        for requirement in security
        for name, scopes in requirement.items()
        for needed in ([[scope] for scope in scopes] or [[]])
    ]
