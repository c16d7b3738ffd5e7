"""Small pools over HTTP."""

from collections.abc import Iterable
from typing import Any

from tests.support.runtime import Api
from tests.support.working import drain


def vector_of(n: int) -> list[float]:
    """A point of example `n`: odd ones right, even ones left of zero, spread by n."""
    side = 1.0 if n % 2 else -1.0
    return [side * (0.2 + (n % 17) / 10), (n % 23) / 11 - 1]


def add_examples(api: Api, project_id: str, count: int, *, first: int = 0) -> None:
    """Add examples `e<first>` and the numbers behind it."""
    rows = [{"id": f"e{n}", "vector": vector_of(n)} for n in range(first, first + count)]
    answer = api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    assert answer.status_code == 200, answer.text


def add_labels(api: Api, project_id: str, numbers: Iterable[int]) -> dict[str, Any]:
    """Labels a for even, b for odd examples; the answer."""
    labels = [{"example_id": f"e{n}", "label": "b" if n % 2 else "a"} for n in numbers]
    answer = api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": labels})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def merge_unseen(api: Api, project_id: str) -> None:
    """Merge a new class into b, so that b means more and the classes are called what they were called before."""
    task = api.http.get(f"/v1/projects/{project_id}").json()["task"]
    before = task["classes"]
    for change in ({"task": {**task, "classes": [*before, "new"]}}, {"merge_classes": {"new": "b"}}):
        answer = api.http.patch(f"/v1/projects/{project_id}", json=change, headers={"If-Match": "*"})
        assert answer.status_code == 200, answer.text
    assert answer.json()["task"]["classes"] == before


def ask(api: Api, project_id: str, **query: Any) -> str:
    """The job of a query."""
    answer = api.http.post(f"/v1/projects/{project_id}/queries", json=query)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def batch(api: Api, project_id: str, **query: Any) -> dict[str, Any]:
    """The batch of a query that is run at once."""
    job_id = ask(api, project_id, **query)
    drain(api.runtime)
    answer = api.http.get(f"/v1/jobs/{job_id}/batch")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body
