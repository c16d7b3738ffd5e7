"""A run: clients work while faults happen; then all is calm, and what is left is written down."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from redis.exceptions import RedisError

from tests.chaos import client as clients
from tests.chaos.client import Client, Scene
from tests.chaos.cluster import Cluster, DatabaseKind, running
from tests.chaos.faults import Fault, Undo, schedule, strike
from tests.chaos.history import History, Record, read
from tests.chaos.points import CLASSES, DIMENSIONS, vector
from tests.chaos.receiver import Receiver
from tests.support.redis_server import wait_until

CLIENTS = 6
SETTLE_SECONDS = 120.0
_DELIVERED_SECONDS = 60.0
_PROBES = 50


def run(folder: Path, *, database: DatabaseKind, seed: int, count: int, every: float) -> list[Record]:
    """Run `count` faults over one database; return the history, which is also kept in `folder`."""
    path = folder / f"history-{database}-{seed}.jsonl"
    history = History(path)
    receiver = Receiver(history, random.Random(seed))  # noqa: S311  # a schedule, not a secret
    try:
        with running(database) as cluster:
            try:
                _play(cluster, history, receiver, schedule(seed, count, every=every, database=database), seed=seed)
            finally:
                (folder / f"cluster-{database}-{seed}.log").write_text(cluster.told())
    finally:
        receiver.close()
        history.close()
    return read(path)


def _play(cluster: Cluster, history: History, receiver: Receiver, faults: list[Fault], *, seed: int) -> None:
    with httpx.Client(
        base_url=cluster.urls[0], headers={"Authorization": f"Bearer {cluster.key}"}, timeout=60, trust_env=False
    ) as http:
        project_id = _project(http)
        hook = {"url": receiver.url, "project_id": project_id}
        hook_events = ["training.succeeded", "training.failed", "query.succeeded", "query.failed"]
        _sent(http.post("/v1/webhooks", json={**hook, "events": hook_events}))
        scene = Scene(cluster.urls, cluster.key, project_id, history, threading.Event(), threading.Event())
        with _working(cluster, scene, seed):
            _disturb(cluster, history, faults)
            history.add("calm")
            cluster.pause(2.0)  # with nothing going wrong, all must go well at once
        _settle(cluster, http, project_id, history)
        _write_down(http, project_id, history)
        _undisturbed(cluster, http, project_id, history)


def _project(http: httpx.Client) -> str:
    body = {
        "name": "chaos",
        "task": {"type": "classification", "classes": list(CLASSES)},
        "features": {"type": "vector", "dimensions": DIMENSIONS},
        "retraining": {"automatic": True, "first_at": 10, "every": 20, "idle_seconds": 1},
        "seed": 7,
    }
    project_id: str = _sent(http.post("/v1/projects", json=body))["id"]
    return project_id


@contextmanager
def _working(cluster: Cluster, scene: Scene, seed: int) -> Iterator[None]:
    people = [Client(f"c{n}", scene, random.Random(f"{seed}:{n}")) for n in range(CLIENTS)]  # noqa: S311  # same
    threads = [threading.Thread(target=person.run, name=person.name, daemon=True) for person in people]
    for thread in threads:
        thread.start()
    try:
        yield
        scene.stop.set()
        until = time.monotonic() + SETTLE_SECONDS
        while any(thread.is_alive() for thread in threads) and time.monotonic() < until:
            cluster.pause(0.1)
    finally:
        scene.stop.set()
        scene.give_up.set()
        for thread in threads:
            thread.join(clients.ATTEMPT_SECONDS + 5)


def _disturb(cluster: Cluster, history: History, faults: list[Fault]) -> None:
    """Let the faults happen and pass."""
    start = time.monotonic()
    pending: list[tuple[float, Fault, Undo]] = []
    left = list(faults)
    while left or pending:
        now = time.monotonic() - start
        for ending in [entry for entry in pending if entry[0] <= now]:
            pending.remove(ending)
            ending[2]()
            history.add("fault_end", kind=ending[1].kind)
        if left and left[0].at <= now:
            fault = left.pop(0)
            undo = _try(cluster, fault, history)
            if undo is not None:
                pending.append((now + fault.seconds, fault, undo))
        cluster.pause(0.02)


def _try(cluster: Cluster, fault: Fault, history: History) -> Undo | None:
    try:
        undo = strike(cluster, fault)
    except RedisError as error:
        history.add("fault_missed", kind=fault.kind, why=type(error).__name__)
        return None
    history.add("fault" if undo else "fault_missed", kind=fault.kind, seconds=fault.seconds)
    return undo


def _settle(cluster: Cluster, http: httpx.Client, project_id: str, history: History) -> None:
    """Wait until every job has ended and the last label is learnt; the checker sees whether they have."""
    until = time.monotonic() + SETTLE_SECONDS
    path = f"/v1/projects/{project_id}"
    while time.monotonic() < until:
        cluster.pause(0.25)
        open_jobs = [http.get(f"{path}/jobs", params={"state": state}) for state in ("queued", "running")]
        project = http.get(path)
        answers = [*open_jobs, project]
        if not all(answer.is_success for answer in answers) or any(answer.json()["items"] for answer in open_jobs):
            continue
        if project.json()["counts"]["labels_since_model"] == 0:
            break
    history.add("settled")
    jobs = sum(1 for job in _pages(http, f"{path}/jobs") if job["state"] in clients.ENDED)
    wait_until(lambda: _delivered(cluster, http), _DELIVERED_SECONDS)
    history.add("delivered", jobs=jobs)


def _delivered(cluster: Cluster, http: httpx.Client) -> bool:
    cluster.pause(0.25)
    (hook,) = _sent(http.get("/v1/webhooks"))["items"]
    return all(delivery["state"] != "pending" for delivery in _pages(http, f"/v1/webhooks/{hook['id']}/deliveries"))


def _write_down(http: httpx.Client, project_id: str, history: History) -> None:
    path = f"/v1/projects/{project_id}"
    for job in _pages(http, f"{path}/jobs"):
        clients.note_job(history, job)
        if job["kind"] == "query" and job["state"] == "succeeded":
            clients.note_batch(history, job["id"], http.get(f"/v1/jobs/{job['id']}/batch"))
    examples = [row["id"] for row in _pages(http, f"{path}/examples")]
    history.add("final", project=_sent(http.get(path)), examples=examples)
    begun = time.time()
    clients.note_export(history, _labels(http, project_id), begun=begun, final=True)
    history.add("model", whose="disturbed", **_model(http, project_id))


def _undisturbed(cluster: Cluster, http: httpx.Client, project_id: str, history: History) -> None:
    """The same examples in the same order and the same labels, in a project where nothing ever went wrong."""
    twin = _project(http)
    path = f"/v1/projects/{twin}"
    ids = [row["id"] for row in _pages(http, f"/v1/projects/{project_id}/examples")]
    rows = [{"id": example_id, "vector": vector(example_id)} for example_id in ids]
    _sent(http.post(f"{path}/examples", json={"examples": rows}))
    kept = ("example_id", "label", "annotator", "labeled_at")
    lines = [httpx.Response(200, text=line).json() for line in _labels(http, project_id).text.splitlines()]
    _sent(http.post(f"{path}/labels", json={"labels": [{name: row[name] for name in kept} for row in lines]}))

    def learnt() -> bool:
        cluster.pause(0.1)
        counts = _sent(http.get(path))["counts"]
        return counts["model_version"] is not None and counts["labels_since_model"] == 0

    wait_until(learnt, SETTLE_SECONDS)
    history.add("model", whose="undisturbed", **_model(http, twin))


def _model(http: httpx.Client, project_id: str) -> dict[str, Any]:
    """What can be told of the serving model."""
    path = f"/v1/projects/{project_id}"
    version = _sent(http.get(path))["counts"]["model_version"]
    if version is None:
        return {"labels_used": 0, "metrics": {}, "predictions": []}
    model = _sent(http.get(f"{path}/models/{version}"))
    body = {"examples": [{"vector": vector(f"probe {n}")} for n in range(_PROBES)]}
    predictions = _sent(http.post(f"{path}/models/{version}/predict", json=body))["predictions"]
    return {"labels_used": model["labels_used"], "metrics": model["metrics"], "predictions": predictions}


def _labels(http: httpx.Client, project_id: str) -> httpx.Response:
    return http.get(f"/v1/projects/{project_id}/labels", headers={"Accept": "application/x-ndjson"})


def _pages(http: httpx.Client, path: str) -> Iterator[dict[str, Any]]:
    token: str | None = ""
    while token is not None:
        page = _sent(http.get(path, params={"page_size": 1000, **({"page_token": token} if token else {})}))
        yield from page["items"]
        token = page["next_page_token"]


def _sent(answer: httpx.Response) -> dict[str, Any]:
    assert answer.is_success, answer.text
    body: dict[str, Any] = answer.json()
    return body
