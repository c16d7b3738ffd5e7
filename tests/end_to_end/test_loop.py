"""The loop as an annotation tool plays it, with real processes."""

import pytest

from service.cli.demo_receiver import Receiver
from tests.support.stack import points, running

pytestmark = pytest.mark.processes
WAIT = {"Prefer": "wait=30"}


def test_the_loop() -> None:
    X, truth = points(300)
    with running(webhook_allow="127.0.0.0/8") as stack, Receiver() as receiver:
        client = stack.client
        project_id = client.project(retraining={"first_at": 20, "every": 20})
        webhook = client.http.post("/v1/webhooks", json={"url": receiver.url, "events": ["training.succeeded"]})
        receiver.trust(webhook.json()["secret"])
        assert client.upload(project_id, X).json()["created"] == 300
        seen: set[str] = set()
        for version in (None, 1, 2):
            query = client.http.post(f"/v1/projects/{project_id}/queries", json={"k": 20}, headers=WAIT)
            assert (query.status_code, query.json()["state"]) == (202, "succeeded")
            batch = client.http.get(query.json()["links"]["batch"]).json()
            assert (batch["model"] and batch["model"]["version"]) == version
            picked = {item["example_id"] for item in batch["items"]}
            assert len(picked) == 20
            assert not picked & seen
            seen |= picked
            labels = client.label(project_id, {example_id: truth[example_id] for example_id in picked})
            told = receiver.wait(labels.json()["training"]["job_id"], 30)
            assert (told["project_id"], told["model"]["labels_used"]) == (project_id, len(seen))

        progress = client.http.get(f"/v1/projects/{project_id}/progress").json()
        assert [(point["model_version"], point["labels_used"]) for point in progress["curve"]] == [
            (1, 20),
            (2, 40),
            (3, 60),
        ]
        examples = [{"vector": row.tolist()} for row in X[:50]]
        answer = client.http.post(f"/v1/projects/{project_id}/models/3/predict", json={"examples": examples})
        assert answer.status_code == 200
        right = [said["label"] == truth[f"e{n}"] for n, said in enumerate(answer.json()["predictions"])]
        assert sum(right) > 30
        assert receiver.verified == 3
        assert stack.terminate() < 10
