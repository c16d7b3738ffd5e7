"""Uploading predictions of a model of the client's own."""
from typing import Any
from tests.support.pools import add_examples, add_labels, batch
from tests.support.runtime import Api


def post(api: Api, project_id: str, rows: list[dict[str, Any]], *, model: str = "mine", mode: str = "atomic") -> Any:
    path = f"/v1/projects/{project_id}/predictions?model={model}&mode={mode}"
    return api.http.post(path, json={"predictions": rows})


def test_smoke(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 10)
    got = post(api, project_id, [{"id": f"e{n}", "probabilities": [n / 10, 1 - n / 10]} for n in range(8)])
    assert got.status_code == 200, got.text
    print(got.json())
    got = api.http.post(f"/v1/projects/{project_id}/models/1/activate")
    assert got.status_code == 200, got.text
    print(got.json())
    print(batch(api, project_id, k=9, strategy="margin"))
    assert 0
