"""Small projects whose examples are rows of a table."""

from typing import Any

from tests.support.runtime import Api
from tests.support.working import drain

FIELDS = [
    {"name": "amount", "type": "number"},
    {"name": "plan", "type": "category"},
    {"name": "since", "type": "date"},
    {"name": "note", "type": "text"},
]


def tabular(api: Api, **changes: Any) -> str:
    """A project of tables that trains when it is asked to."""
    return api.project(
        features={"type": "tabular", "fields": FIELDS}, retraining={"automatic": False, "first_at": 1}, **changes
    )


def row_of(n: int) -> dict[str, Any]:
    """Customer `n`, with gaps: who pays for gold and is odd is of class b."""
    odd = n % 2
    data: dict[str, Any] = {
        "amount": 100.0 * odd + n % 7,
        "plan": ["basic", "gold"][odd],
        "since": f"20{10 + n % 10}-0{1 + n % 9}-15",
        "note": f"{['slow cheap', 'good fast'][odd]} {n % 5}",
    }
    gap = n % (len(FIELDS) + 1)
    return {name: value for place, (name, value) in enumerate(data.items()) if place != gap}


def add_rows(api: Api, project_id: str, count: int, *, first: int = 0) -> None:
    """Add customers `e<first>` and those behind."""
    rows = [{"id": f"e{n}", "data": row_of(n)} for n in range(first, first + count)]
    answer = api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    assert answer.status_code == 200, answer.text


def train(api: Api, project_id: str, count: int, *, first: int = 0) -> dict[str, Any]:
    """Label customers and train; the newest model."""
    labels = [{"example_id": f"e{n}", "label": "b" if n % 2 else "a"} for n in range(first, first + count)]
    assert api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": labels}).status_code == 200
    assert api.http.post(f"/v1/projects/{project_id}/trainings").status_code == 202
    drain(api.runtime)
    newest: dict[str, Any] = api.http.get(f"/v1/projects/{project_id}/models").json()["items"][0]
    return newest
