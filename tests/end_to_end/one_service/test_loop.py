"""The loop as an annotation tool plays it, with real processes."""

import numpy as np
import pytest

from service.cli.demo_receiver import Receiver
from tests.support.loop import WAIT, play_the_loop
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.stack import Client

pytestmark = pytest.mark.processes


def test_the_loop(client: Client) -> None:
    with Receiver() as receiver:
        webhook = client.http.post("/v1/webhooks", json={"url": receiver.url, "events": ["training.succeeded"]})
        receiver.trust(webhook.json()["secret"])
        project_id, trainings = play_the_loop(client)
        for used, job_id in trainings.items():
            told = receiver.wait(job_id, PATIENCE_SECONDS)
            assert (told["project_id"], told["model"]["labels_used"]) == (project_id, used)
        assert receiver.verified == 3


def test_the_loop_of_a_table(client: Client) -> None:
    """Rows with gaps come as CSV; who pays much for gold leaves."""
    rng = np.random.default_rng(0)
    gold, amount = rng.integers(2, size=300), rng.normal(size=300)
    truth = {f"e{n}": "leaves" if gold[n] and amount[n] > -0.5 else "stays" for n in range(300)}
    rows = [
        f"e{n},{'' if n % 9 == 0 else round(amount[n] * 50 + 100, 2)},{['basic', 'gold'][gold[n]]},2024-0{1 + n % 9}-01"
        for n in range(300)
    ]
    fields = [
        {"name": "amount", "type": "number"},
        {"name": "plan", "type": "category"},
        {"name": "since", "type": "date"},
    ]
    project_id = client.project(
        task={"type": "classification", "classes": ["stays", "leaves"]},
        features={"type": "tabular", "fields": fields},
        retraining={"first_at": 20, "every": 20},
    )
    body = "\n".join(["id,amount,plan,since", *rows])
    path = f"/v1/projects/{project_id}"
    uploaded = client.http.post(f"{path}/examples", content=body, headers={"Content-Type": "text/csv"})
    assert uploaded.json()["columns"] == {"amount": "number", "plan": "text", "since": "text"}
    for version in (None, 1, 2):
        query = client.http.post(f"{path}/queries", json={"k": 20}, headers=WAIT)
        assert (query.status_code, query.json()["state"]) == (202, "succeeded")
        batch = client.http.get(query.json()["links"]["batch"]).json()
        assert (batch["model"] and batch["model"]["version"]) == version
        labels = client.label(project_id, {item["example_id"]: truth[item["example_id"]] for item in batch["items"]})
        client.succeeded(labels.json()["training"]["job_id"])
    unseen = [
        {"data": {"amount": 180, "plan": "gold", "since": "2025-01-01"}},
        {"data": {"amount": 180, "plan": "silver"}},
        {"data": {"amount": 20, "plan": "basic", "since": None}},
    ]
    answer = client.http.post(f"{path}/models/3/predict", json={"examples": unseen})
    assert answer.status_code == 200
    said = [one["label"] for one in answer.json()["predictions"]]
    assert (said[0], said[2]) == ("leaves", "stays")


def test_better_features_come_while_the_loop_goes_on(client: Client) -> None:
    """By the weights that come with the extra, in forked workers."""
    said = (
        ("my parcel is late", "the box never came", "where is my package"),
        ("what a song", "a fine concert", "music"),
    )
    rows = [{"id": f"e{n}", "data": {"text": f"{said[n % 2][n % 3]} {n}"}} for n in range(90)]
    project_id = client.project(
        task={"type": "classification", "classes": ["post", "music"]}, features={"type": "text", "field": "text"}
    )
    path = f"/v1/projects/{project_id}"
    assert client.http.post(f"{path}/examples", json={"examples": rows}).status_code == 200
    client.label(project_id, {f"e{n}": ("post", "music")[n % 2] for n in range(30)})
    client.succeeded(client.train(project_id))
    features = {"type": "text", "field": "text", "featurizer": "embedding"}
    changed = client.http.patch(path, json={"features": features}, headers={"If-Match": "*"})
    client.succeeded(client.query(project_id, strategy="margin"), changed.json()["featurization_job_id"])
    client.succeeded(client.train(project_id))
    newest = client.http.get(f"{path}/models/2").json()
    assert newest["estimator"]["features"]["definition"]["featurizer"] == "embedding"
    unseen = [{"data": {"text": text}} for text in ("the delivery did not arrive", "she sang beautifully")]
    answer = client.http.post(f"{path}/models/2/predict", json={"examples": unseen}, headers=WAIT)
    assert [one["label"] for one in answer.json()["predictions"]] == ["post", "music"]
