"""What is left of a run, and what an undisturbed run makes of the same examples and answers."""

import time
from collections.abc import Iterator
from typing import Any

import httpx

from tests.chaos import points
from tests.chaos.caller import Scene, note_batch, note_export, note_job, parse
from tests.chaos.cluster import Cluster
from tests.chaos.model_owner import ModelOwner
from tests.support.redis_server import wait_until

_PROBES = 50
_LABELS_OF_A_BODY = 10_000


def make_project(http: httpx.Client, overlap: int) -> str:
    """A project whose examples are for so many annotators; its id."""
    body = {
        "name": "chaos",
        "task": {"type": "classification", "classes": list(points.CLASSES)},
        "features": {"type": "vector", "dimensions": points.DIMENSIONS},
        # trees learn nothing from the pool without labels, which differs in where an undisturbed run has its rows
        "estimator": {"name": "random_forest", "params": {"n_estimators": 10}},
        "retraining": {"automatic": True, "first_at": 10, "every": 20, "idle_seconds": 1},
        "annotation": {"overlap": overlap},
        "seed": 7,
    }
    project_id: str = sent(http.post("/v1/projects", json=body))["id"]
    return project_id


def write_down(http: httpx.Client, scene: Scene, *, offer: str) -> None:
    """Write down all jobs, batches, examples and labels, and the model; `offer` is the query for all that is open."""
    note_jobs(http, scene)
    begun = time.time()
    examples = [[row["id"], row["data"]["edition"]] for row in pages(http, f"{scene.path}/examples")]
    scene.note("final", begun=begun, counts=sent(http.get(scene.path))["counts"], examples=examples, offer=offer)
    note_export(scene, _labels(http, scene), begun=begun, final=True)
    scene.note("model", whose="disturbed", **_model(http, scene.path))


def read_versions(http: httpx.Client, scene: Scene, owner: ModelOwner) -> None:
    """Write down what every version of a model elsewhere says: each serves once more, and is asked for all."""
    for version in sorted(model["version"] for model in pages(http, f"{scene.path}/models")):
        owner.activate(version)
        job_id = owner.ask_for_all()
        answer = http.get(f"/v1/jobs/{job_id}/batch", headers={"Prefer": "wait=30"})
        if answer.status_code == 200:
            note_batch(scene, job_id, answer)
        scene.note("read", version=version, job_id=job_id)
    scene.note("read_all")


def note_jobs(http: httpx.Client, scene: Scene) -> None:
    """Write down all jobs, and the batches of queries."""
    for job in pages(http, f"{scene.path}/jobs"):
        note_job(scene, job)
        if job["kind"] == "query" and job["state"] == "succeeded":
            note_batch(scene, job["id"], http.get(f"/v1/jobs/{job['id']}/batch"))


def undisturbed(cluster: Cluster, http: httpx.Client, scenes: dict[int, Scene], patience: float) -> None:
    """Train on the same examples in the same order and the same answers, where nothing ever went wrong."""
    twins = [(scene, f"/v1/projects/{make_project(http, overlap)}") for overlap, scene in scenes.items()]
    for scene, path in twins:
        ids = [(row["id"], row["data"]["edition"]) for row in pages(http, f"{scene.path}/examples")]
        sent(http.post(f"{path}/examples", json={"examples": [points.row(*each) for each in ids]}))
        answers = [_answer(row) for row in _labels(http, scene)]
        for start in range(0, len(answers), _LABELS_OF_A_BODY):
            sent(http.post(f"{path}/labels", json={"labels": answers[start : start + _LABELS_OF_A_BODY]}))
    for scene, path in twins:
        wait_until(lambda path=path: _has_learnt(cluster, http, path), patience)  # type: ignore[misc]
        scene.note("model", whose="undisturbed", **_model(http, path))


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    """An exported answer as it is sent."""
    what = {"skip": True} if row["skip"] else {"label": row["label"]}
    return {**what, **{name: row[name] for name in ("example_id", "annotator", "labeled_at")}}


def _has_learnt(cluster: Cluster, http: httpx.Client, path: str) -> bool:
    cluster.pause(0.1)
    counts = sent(http.get(path))["counts"]
    return counts["model_version"] is not None and counts["labels_since_model"] == 0


def _model(http: httpx.Client, path: str) -> dict[str, Any]:
    """What can be told of the serving model."""
    version = sent(http.get(path))["counts"]["model_version"]
    if version is None:
        return {"labels_used": 0, "metrics": {}, "predictions": []}
    model = sent(http.get(f"{path}/models/{version}"))
    body = {"examples": [{"vector": points.vector(f"probe {n}")} for n in range(_PROBES)]}
    predictions = sent(http.post(f"{path}/models/{version}/predict", json=body))["predictions"]
    return {"labels_used": model["labels_used"], "metrics": model["metrics"], "predictions": predictions}


def _labels(http: httpx.Client, scene: Scene) -> list[dict[str, Any]]:
    return parse(http.get(f"{scene.path}/labels", headers={"Accept": "application/x-ndjson"}))


def pages(http: httpx.Client, path: str) -> Iterator[dict[str, Any]]:
    """The items of all pages."""
    token: str | None = ""
    while token is not None:
        page = sent(http.get(path, params={"page_size": 1000, **({"page_token": token} if token else {})}))
        yield from page["items"]
        token = page["next_page_token"]


def sent(answer: httpx.Response) -> dict[str, Any]:
    """What a good answer says."""
    assert answer.is_success, answer.text
    body: dict[str, Any] = answer.json()
    return body
