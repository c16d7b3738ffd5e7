"""The OpenAPI document: as committed, complete, and with examples that validate."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator

from tests.support.runtime import Api

COMMITTED = Path(__file__).parents[2] / "openapi" / "openapi.json"
METHODS = ("get", "put", "post", "delete", "patch")


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get("/openapi.json").json()
    return found


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            yield f"{method} {path}", operation


def test_the_committed_document_is_the_one_that_is_served(document: dict[str, Any]) -> None:
    assert json.loads(COMMITTED.read_text()) == document, "run `make openapi` and commit the result"


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    names = []
    tags = {tag["name"] for tag in document["tags"]}
    for place, operation in _operations(document):
        names.append(operation["operationId"])
        assert operation["summary"], place
        assert operation["description"], place
        assert set(operation["tags"]) <= tags, place
    assert len(names) == len(set(names))


def test_everything_under_v1_needs_a_key_and_says_what_can_go_wrong(document: dict[str, Any]) -> None:
    for place, operation in _operations(document):
        if " /v1/" not in place:
            continue
        assert operation["security"], place
        expected = {"401", "403", "422", "429", "503"} | ({"404"} if "{" in place else set())
        expected |= {"400", "413", "415"} if "requestBody" in operation else set()
        assert expected <= set(operation["responses"]), place
        for status, response in operation["responses"].items():
            if status[0] in "45":
                assert list(response["content"]) == ["application/problem+json"], place


def test_every_request_body_has_examples_that_validate(document: dict[str, Any]) -> None:
    seen = 0
    for place, operation in _operations(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        schema = content["schema"]
        refs = [part["$ref"].rpartition("/")[2] for part in [schema, *schema.get("anyOf", [])] if "$ref" in part]
        named = document["components"]["schemas"][refs[0]] if refs else {}
        shown = [entry["value"] for entry in content.get("examples", {}).values()] + named.get("examples", [])
        shown += [content["example"]] if "example" in content else []
        assert shown, f"{place} shows no example"
        validator = Draft202012Validator({**schema, "components": document["components"]})
        for value in shown:
            validator.validate(value)
            seen += 1
    assert seen > 10


def test_every_route_is_in_the_document(api: Api, document: dict[str, Any]) -> None:
    served = {route.path for route in api.http.app.routes if isinstance(route, APIRoute)}  # type: ignore[attr-defined] # the test client types its application loosely
    documented = set(document["paths"])
    assert {path.replace(":path", "") for path in served} <= documented
