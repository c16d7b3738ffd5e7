"""Predictions of a model of the client's own, over HTTP."""

from collections.abc import Iterable
from typing import Any

from tests.support.runtime import Api

Response = Any  # of the test client


def said(numbers: Iterable[int]) -> list[dict[str, Any]]:
    """Probabilities of examples `e<number>`: the less sure of class a, the greater the number; under 100 of them."""
    return [{"id": f"e{n}", "probabilities": {"a": 1 - n / 200, "b": n / 200}} for n in numbers]


def predictions(
    api: Api, project_id: str, rows: list[dict[str, Any]], *, model: str = "mine", mode: str = "atomic"
) -> Response:
    """POST predictions as JSON."""
    path = f"/v1/projects/{project_id}/predictions?model={model}&mode={mode}"
    answer: Response = api.http.post(path, json={"predictions": rows})
    return answer


def activate(api: Api, project_id: str, version: int, **how: Any) -> dict[str, Any]:
    """Let a version serve."""
    answer = api.http.post(f"/v1/projects/{project_id}/models/{version}/activate", json=how)
    assert answer.status_code == 200, answer.text
    model: dict[str, Any] = answer.json()
    return model


def own_model(api: Api, project_id: str, rows: list[dict[str, Any]], *, model: str = "mine") -> int:
    """Upload predictions and let them serve; the version."""
    answer = predictions(api, project_id, rows, model=model)
    assert answer.status_code == 200, answer.text
    version: int = answer.json()["model_version"]
    activate(api, project_id, version)
    return version
