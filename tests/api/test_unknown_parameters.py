"""Query parameters that an operation does not have."""

import re
from typing import Any

import pytest

from tests.support.runtime import Api

pytestmark = pytest.mark.any_database


def test_every_operation_refuses_them_before_it_does_anything(api: Api) -> None:
    paths = api.http.get("/openapi.json").json()["paths"]
    operations = [(method, path) for path, methods in paths.items() for method in methods]
    for method, path in operations:
        answer = api.http.request(method, re.sub(r"{\w+}", "1", path), params={"surprise": "yes"})
        assert answer.status_code == 422, (method, path, answer.text)
        (bad,) = answer.json()["errors"]
        assert (bad["pointer"], bad["code"]) == ("/query/surprise", "unknown_parameter"), (method, path)
    assert len(operations) > 50


def _declared(paths: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    return [
        (method, path, [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"])
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]


def test_what_the_document_declares_is_known(api: Api) -> None:
    for method, path, names in _declared(api.http.get("/openapi.json").json()["paths"]):
        answer = api.http.request(method, re.sub(r"{\w+}", "1", path), params=dict.fromkeys(names, "1"))
        assert "unknown_parameter" not in answer.text, (method, path)


@pytest.mark.parametrize(
    ("method", "query", "pointer", "detail"),
    [
        (
            "GET",
            "examples?page_sizes=3",
            "page_sizes",
            "Did you mean `page_size`? Known are: status, page_size, page_t",
        ),
        ("POST", "examples?modus=partial", "modus", "Did you mean `mode`? Known are: mode."),
        ("GET", "next?anotator=ann", "anotator", "Did you mean `annotator`?"),
        ("GET", "examples?PAGE_SIZE=3", "PAGE_SIZE", "Known are: status, "),
        ("GET", "examples?a~%2Fb=3", "a~0~1b", "Known are: status, "),
        ("GET", "progress?since=3", "since", "Known are: none."),
    ],
)
def test_they_are_named_and_the_one_that_was_meant(
    api: Api, method: str, query: str, pointer: str, detail: str
) -> None:
    answer = api.http.request(method, f"/v1/projects/{api.project()}/{query}")
    assert answer.status_code == 422, answer.text
    (bad,) = answer.json()["errors"]
    assert bad["pointer"] == f"/query/{pointer}"
    assert detail in bad["detail"]


def test_of_very_many_the_first_are_named(api: Api) -> None:
    answer = api.http.get("/v1/strategies", params={f"p{number}": "1" for number in range(2000)})
    assert [bad["pointer"] for bad in answer.json()["errors"]] == [f"/query/p{number}" for number in range(20)]
