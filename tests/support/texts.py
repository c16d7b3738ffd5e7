"""Small projects whose examples are texts."""

from collections.abc import Iterable
from typing import Any

from tests.support.runtime import Api

TEXT = {"type": "text", "field": "text"}


def text_project(api: Api, *, features: dict[str, Any] | None = None, **changes: Any) -> str:
    """A project of texts that trains when it is asked to."""
    return api.project(features=features or TEXT, **{"retraining": {"automatic": False}, **changes})


def text_of(n: int) -> str:
    """Even ones go up and are of class a, odd ones go down."""
    return " ".join([("up", "down")[n % 2]] * (1 + n % 3) + ["left"] * (n % 2 + n % 5) + [f"n{n % 7}"])


def add_texts(api: Api, project_id: str, count: int, *, first: int = 0) -> None:
    """Add examples `e<first>` and those behind."""
    rows = [{"id": f"e{n}", "data": {"text": text_of(n)}} for n in range(first, first + count)]
    answer = api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    assert answer.status_code == 200, answer.text


def label_texts(api: Api, project_id: str, numbers: Iterable[int]) -> None:
    """Labels a for even, b for odd examples."""
    labels = [{"example_id": f"e{n}", "label": "ab"[n % 2]} for n in numbers]
    answer = api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": labels})
    assert answer.status_code == 200, answer.text
