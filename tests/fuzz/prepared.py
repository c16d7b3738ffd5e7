"""A service with something in it, and the keys that the attack calls with."""

from pathlib import Path
from typing import Any

from tests.support.stack import Client, filled

DEEP = ("project", "job", "example", "label", "list", "webhook", "delivery", "key", "annotator", "autolabel")
BOUND_SCOPES = ["pool:write", "label:write", "query:run", "read"]


class Prepared:
    """A project with a pool, labels, a model, a batch, bad rows, a webhook and programs; and keys of two projects."""

    def __init__(self, client: Client) -> None:
        self._http = client.http
        self.project_id = filled(client)
        training = client.train(self.project_id)
        client.succeeded(training)
        queries = [client.query(self.project_id, lease_seconds=600) for _ in range(2)]
        client.succeeded(*queries)
        other = filled(client, rows=20, labelled=10)
        webhook_id = self._post("/v1/webhooks", {"url": "https://tool.example.com/", "events": ["training.succeeded"]})
        bad = {"labels": [{"example_id": "none", "label": "0"}]}
        listed = self._http.post(f"/v1/projects/{self.project_id}/labels?mode=partial", json=bad).json()
        self.ids = {
            "project": [self.project_id],
            "job": [*queries, training],
            "example": [f"e{number}" for number in range(100, 130)],
            "label": [label["id"] for label in self._items(f"/v1/projects/{self.project_id}/labels")[:30]],
            "list": [str(listed["errors_url"]).rpartition("/")[2]],
            "webhook": [webhook_id],
            "delivery": [self._post(f"/v1/webhooks/{webhook_id}/test") for _ in range(3)],
            "key": [self._post("/v1/keys", {"name": "spare", "scopes": ["read"]}) for _ in range(10)],
        }
        programs = f"/v1/projects/{self.project_id}/annotators"
        self.ids["annotator"] = [
            self._post(programs, {"name": name, "url": "https://tool.example.com/"}) for name in ("one", "two", "three")
        ]
        made = self._http.post(f"/v1/projects/{self.project_id}/autolabels", json={"dry_run": True}).raise_for_status()
        client.succeeded(made.json()["id"])
        self.ids["autolabel"] = [made.json()["links"]["autolabel"].rpartition("/")[2]]
        own = [key["id"] for key in self._items("/v1/keys") if key["name"] != "spare"]
        bound = [self._key(project_id) for project_id in (self.project_id, other)]
        self.keys = {"bound": bound[0]["key"], "neighbour": bound[1]["key"]}
        self.kept = [*own, *(key["id"] for key in bound), self.project_id]

    def write(self, folder: Path) -> None:
        """Write the ids as dictionaries of the tool."""
        folder.mkdir()
        for name, ids in self.ids.items():
            (folder / f"{name}.dict").write_text("".join(f'"{value}"\n' for value in ids))

    def _key(self, project_id: str) -> dict[str, str]:
        body = {"name": "bound", "scopes": BOUND_SCOPES, "project_id": project_id}
        made: dict[str, str] = self._http.post("/v1/keys", json=body).raise_for_status().json()
        return made

    def _post(self, path: str, body: dict[str, Any] | None = None) -> str:
        made: str = self._http.post(path, json=body or {}).raise_for_status().json()["id"]
        return made

    def _items(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._http.get(path).raise_for_status().json()["items"]
        return items
