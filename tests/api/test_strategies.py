"""Strategies that do not suit a project, and parameters that name its classes: 422 with the remedy."""

from typing import Any

import pytest

from service.actions.strategies import suitable
from service.db.tables import Project
from service.errors import InvalidRequestError
from tests.support.runtime import Api

COMMITTEE = {"name": "logistic_regression", "params": {"committee": 2}}
BALD = {"strategy": "bald", "params": {}}
CERTAINTY = {"strategy": "certainty", "params": {"target_class": "b"}}


def errors_of(answer: Any) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(error["pointer"], error["code"]) for error in answer.json()["errors"]]


def project_body(**changes: Any) -> dict[str, Any]:
    task = {"type": "classification", "classes": ["a", "b"]}
    return {"name": "test", "task": task, "features": {"type": "vector", "dimensions": 2}, **changes}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"strategy": "bald"}, ("/strategy", "no_committee")),
        ({"candidates": {"strategy": "vote_entropy", "count": 5}}, ("/candidates/strategy", "no_committee")),
        ({"strategy": "certainty"}, ("/params/target_class", "missing_parameter")),
        ({"strategy": "certainty", "params": {"target_class": "spam"}}, ("/params/target_class", "unknown_class")),
        ({"strategy": "certainty", "params": {"target_class": 1}}, ("/params/target_class", "wrong_type")),
        (
            {"candidates": {"strategy": "certainty", "params": {"target_class": "A"}, "count": 5}},
            ("/candidates/params/target_class", "unknown_class"),
        ),
    ],
)
def test_queries(api: Api, query: dict[str, Any], expected: tuple[str, str]) -> None:
    project_id = api.project()
    assert errors_of(api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 1, **query})) == [expected]


def test_the_remedy_for_a_missing_committee_works(api: Api) -> None:
    project_id = api.project()
    refused = api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 1, "strategy": "bald"})
    assert "`estimator.params.committee` to at least 2" in refused.json()["errors"][0]["detail"]
    headers = {"If-Match": api.http.get(f"/v1/projects/{project_id}").headers["ETag"]}
    changed = api.http.patch(f"/v1/projects/{project_id}", json={"estimator": COMMITTEE}, headers=headers)
    assert changed.status_code == 200
    assert changed.json()["estimator"]["params"]["committee_of"] == "bootstrap"
    assert api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 1, "strategy": "bald"}).status_code == 202


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"query": BALD}, ("/query/strategy", "no_committee")),
        ({"query": {"strategy": "certainty"}}, ("/query/params/target_class", "missing_parameter")),
        (
            {"query": {"strategy": "certainty", "params": {"target_class": "c"}}},
            ("/query/params/target_class", "unknown_class"),
        ),
        (
            {"estimator": {"name": "random_forest", "params": {"committee": 1}}},
            ("/estimator/params/committee", "not_allowed"),
        ),
        (
            {"estimator": {"name": "random_forest", "params": {"committee": 21}}},
            ("/estimator/params/committee", "not_allowed"),
        ),
    ],
)
def test_projects(api: Api, changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert errors_of(api.http.post("/v1/projects", json=project_body(**changes))) == [expected]
    project_id = api.project()
    found = api.http.get(f"/v1/projects/{project_id}")
    headers = {"If-Match": found.headers["ETag"]}
    assert errors_of(api.http.patch(f"/v1/projects/{project_id}", json=changes, headers=headers)) == [expected]
    assert api.http.get(f"/v1/projects/{project_id}").json() == found.json()


def test_a_committee_that_the_default_query_needs_is_not_given_up(api: Api) -> None:
    project_id = api.project(estimator=COMMITTEE, query=BALD)
    headers = {"If-Match": api.http.get(f"/v1/projects/{project_id}").headers["ETag"]}
    alone = {"estimator": {"name": "logistic_regression", "params": {}}}
    answer = api.http.patch(f"/v1/projects/{project_id}", json=alone, headers=headers)
    assert errors_of(answer) == [("/estimator/params/committee", "no_committee")]
    both = {**alone, "query": {"strategy": "margin", "params": {}}}
    assert api.http.patch(f"/v1/projects/{project_id}", json=both, headers=headers).status_code == 200


def test_the_default_query_may_name_a_class_and_is_what_a_query_uses(api: Api) -> None:
    project_id = api.project(query=CERTAINTY)
    assert api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 1}).status_code == 202
    added = {"type": "classification", "classes": ["a", "b", "c"]}
    sought = {"strategy": "certainty", "params": {"target_class": "c"}}
    headers = {"If-Match": api.http.get(f"/v1/projects/{project_id}").headers["ETag"]}
    answer = api.http.patch(f"/v1/projects/{project_id}", json={"task": added, "query": sought}, headers=headers)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("name", "task", "features", "code"),
    [
        ("k_center", "classification", "none", "no_features"),
        ("margin", "classification", "none", None),
        ("auto", "classification", "none", None),
        ("margin", "regression", "vector", "wrong_task"),
    ],
)
def test_needs_and_tasks_of_the_catalogue_decide(name: str, task: str, features: str, code: str | None) -> None:
    project = Project(task={"type": task}, features={"type": features}, estimator={"params": {}})
    if code is None:
        assert suitable(project, name, pointer="/strategy").name == name
        return
    with pytest.raises(InvalidRequestError) as caught:
        suitable(project, name, pointer="/strategy")
    assert [(error.pointer, error.code) for error in caught.value.errors] == [("/strategy", code)]
