"""Two projects that must know nothing of each other, and the operations of the API as its own document tells them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from httpx2 import Response

from tests.support.pools import add_examples, add_labels, ask
from tests.support.runtime import Api
from tests.support.working import run_job

REQUEST_ID = "the-same"
ABSENT = {
    "project_id": "prj_00000000000000000000000000",
    "example_id": "nobody",
    "label_id": "lbl_00000000000000000000000000",
    "list_id": "err_00000000000000000000000000",
    "job_id": "job_00000000000000000000000000",
    "version": "77",
    "key_id": "key_00000000000000000000000000",
    "webhook_id": "whk_00000000000000000000000000",
    "delivery_id": "dlv_00000000000000000000000000",
    "annotator_id": "ann_00000000000000000000000000",
    "autolabel_id": "aut_00000000000000000000000000",
}


@dataclass(frozen=True)
class Operation:
    """One operation of the document."""

    name: str
    method: str
    path: str
    rule: dict[str, Any] | None
    body: Any

    @property
    def ids(self) -> list[str]:
        """The names of the ids in its path, in order."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]

    def call(
        self, api: Api, ids: dict[str, str], headers: dict[str, str], *, body: Any = None, **request: Any
    ) -> Response:
        """Call it with these ids, and with nothing of the client's own headers."""
        sent = {"Authorization": "", "X-Request-Id": REQUEST_ID, "If-Match": "*", **headers}
        content = {} if self.body is None else {"json": self.body if body is None else body}
        return api.http.request(self.method, self.path.format(**ids), headers=sent, **content, **request)


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    """Every operation, with an example of its body."""
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            body = _example(document, told.get("requestBody"))
            yield Operation(told["operationId"], method.upper(), path, told.get("x-access"), body)


def _example(document: dict[str, Any], request_body: dict[str, Any] | None) -> Any:
    content = (request_body or {}).get("content", {}).get("application/json")
    if content is None:
        return None
    shown = [entry["value"] for entry in content.get("examples", {}).values()]
    shown += [content["example"]] if "example" in content else []
    schema = content["schema"]
    for part in [schema, *schema.get("anyOf", [])]:
        named = document["components"]["schemas"].get(part.get("$ref", "").rpartition("/")[2], {})
        shown += named.get("examples", [])
    return shown[0]


def tenant(api: Api, name: str, *, models: int) -> dict[str, str]:
    """A project with one thing of every kind, a finished batch too, and some models; their ids as paths name them.

    `version` is that of the last model, which a project with fewer of them does not have.
    """
    project_id = api.project(name=name, retraining={"automatic": False})
    base = f"/v1/projects/{project_id}"
    example_id = f"{name}-1"
    add_examples(api, project_id, 20)
    add_labels(api, project_id, range(12))
    for _ in range(models):
        run_job(api.runtime, _made(api, f"{base}/trainings", {}, 202)["id"])
    rows = [{"id": example_id, "vector": [1.0, 2.0]}, {"id": f"{name}-2", "vector": [2.0, 1.0]}]
    _made(api, f"{base}/examples", {"examples": rows}, 200)
    _made(api, f"{base}/labels", {"labels": [{"example_id": example_id, "label": "a"}]}, 200)
    bad = {"examples": [*rows, {"id": "bad", "vector": [1.0]}]}
    error_list = _made(api, f"{base}/examples?mode=partial", bad, 200)["errors_url"]
    job_id = ask(api, project_id, k=1)
    run_job(api.runtime, job_id)
    hook = {"url": "https://receiver.example/hook", "events": ["training.succeeded"], "project_id": project_id}
    webhook = _made(api, "/v1/webhooks", hook, 201)
    delivery = _made(api, f"/v1/webhooks/{webhook['id']}/test", {}, 202)
    program = {"name": f"{name}-program", "url": "https://receiver.example/label"}
    annotator = _made(api, f"{base}/annotators", program, 201)
    autolabel_id = ABSENT["autolabel_id"]
    if models:
        made = _made(api, f"{base}/autolabels", {"dry_run": True}, 202)
        autolabel_id = made["links"]["autolabel"].rpartition("/")[2]
        run_job(api.runtime, made["id"])
    key = _made(api, "/v1/keys", {"name": name, "scopes": ["read"], "project_id": project_id}, 201)
    labels = api.http.get(f"{base}/labels").json()["items"]
    return {
        "project_id": project_id,
        "example_id": example_id,
        "label_id": next(label["id"] for label in labels if label["example_id"] == example_id),
        "list_id": error_list.rpartition("/")[2],
        "job_id": job_id,
        "version": str(models),
        "key_id": key["id"],
        "webhook_id": webhook["id"],
        "delivery_id": delivery["id"],
        "annotator_id": annotator["id"],
        "autolabel_id": autolabel_id,
    }


def _made(api: Api, path: str, body: Any, status: int) -> Any:
    answer = api.http.post(path, json=body)
    assert answer.status_code == status, (path, answer.text)
    return answer.json()


def told(answer: Response, ids: dict[str, str]) -> tuple[int, str, dict[str, str]]:
    """An answer without the ids that it echoes, as far as two of them could differ."""

    def anonymous(text: str) -> str:
        for name, value in ids.items():
            if name != "version":
                text = text.replace(value, name)
        return text

    headers = {name: anonymous(value) for name, value in answer.headers.items() if name != "content-length"}
    return answer.status_code, anonymous(answer.text), headers
