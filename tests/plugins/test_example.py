"""The package in `tests/plugin`, installed and used over HTTP with real processes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.plugins.installing import EXAMPLE, install, run
from tests.support.stack import Client, points, running

NAMES = {
    "/v1/estimators": {"example_centroids"},
    "/v1/strategies": {"example_runner_up"},
    "/v1/featurizers": {"example_letters", "example_lengths", "example_totals"},
}
WAIT = {"Prefer": "wait=30"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    install(EXAMPLE, folder)
    return folder


@pytest.fixture(scope="module")
def client(installed: Path) -> Iterator[Client]:
    with running("--workers", "1", variables={"PYTHONPATH": str(installed)}) as stack:
        yield stack.client


def test_what_it_adds_is_listed(installed: Path) -> None:
    listed = run(installed, "-m", "service.cli.main", "plugins")
    assert listed.returncode == 0, listed.stderr
    assert "gleaner-example 1.0.0" in listed.stdout
    assert "5 added by plug-ins." in listed.stdout
    assert run(Path(), "-m", "service.cli.main", "plugins").stdout == "No plug-in is installed.\n"


def test_the_api_loads_its_entries_and_not_its_code(installed: Path) -> None:
    code = (
        "import service.app, sys\n"
        "print([name for name in ('gleaner_example.catalog', 'gleaner_example.centroids', 'sklearn')"
        " if name in sys.modules])"
    )
    loaded = run(installed, "-c", code)
    assert loaded.stdout.strip() == "['gleaner_example.catalog']", loaded.stderr


@pytest.mark.processes
def test_the_catalogue_has_it(client: Client) -> None:
    for path, names in NAMES.items():
        assert names <= {entry["name"] for entry in client.http.get(path).json()["items"]}


@pytest.mark.processes
def test_estimator_committee_and_strategy(client: Client) -> None:
    estimator = {"name": "example_centroids", "params": {"sharpness": 3.0, "committee": 3}}
    query = {"strategy": "example_runner_up"}
    project_id = client.project(estimator=estimator, query=query)
    X, truth = points(120)
    assert client.upload(project_id, X).status_code == 200
    assert client.label(project_id, {f"e{n}": truth[f"e{n}"] for n in range(60)}).status_code == 200
    client.succeeded(client.train(project_id))
    model = client.http.get(f"/v1/projects/{project_id}/models/1").json()
    assert model["estimator"]["name"] == "example_centroids"
    assert model["estimator"]["chosen"]["sharpness"] == 3.0
    assert model["metrics"]["accuracy"]["value"] > 0.5
    jobs = [client.query(project_id), client.query(project_id, strategy="bald", lease_seconds=0)]
    client.succeeded(*jobs)
    batch = client.http.get(f"/v1/jobs/{jobs[0]}/batch").json()
    assert batch["strategy"]["name"] == "example_runner_up"
    assert batch["strategy"]["fallback_reason"] is None
    for item in batch["items"]:
        second = sorted(item["prediction"]["probabilities"].values())[-2]
        assert item["score"] == pytest.approx(2 * second, abs=1e-3)
    assert client.http.get(f"/v1/jobs/{jobs[1]}/batch").json()["strategy"]["name"] == "bald"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("featurizer", "params", "estimator"),
    [
        ("example_letters", {}, "logistic_regression"),
        ("example_letters", {}, "example_centroids"),
        ("example_lengths", {"logarithm": True}, "logistic_regression"),
    ],
)
def test_featurizers(client: Client, featurizer: str, params: dict[str, Any], estimator: str) -> None:
    project_id = client.project(
        task={"type": "classification", "classes": ["0", "1"]},
        features={"type": "text", "field": "text", "featurizer": featurizer, "params": params},
        estimator={"name": estimator},
    )
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list(("ab c", "xyz ")[n % 2]), size=(8, 40)[n % 2])) for n in range(80)]
    rows = [{"id": f"e{n}", "data": {"text": text}} for n, text in enumerate(texts)]
    assert client.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows}).status_code == 200
    client.label(project_id, {f"e{n}": str(n % 2) for n in range(40)})
    client.succeeded(client.train(project_id))
    job = client.query(project_id, strategy="margin")
    client.succeeded(job)
    examples = [{"data": {"text": text}} for text in texts[40:]]
    answer = client.http.post(f"/v1/projects/{project_id}/models/1/predict", json={"examples": examples}, headers=WAIT)
    assert answer.status_code == 200, answer.text
    right = [said["label"] == str(n % 2) for n, said in enumerate(answer.json()["predictions"])]
    assert np.mean(right) > 0.95


@pytest.mark.processes
def test_a_featurizer_of_tables_takes_the_place_of_the_built_in_one(client: Client) -> None:
    task = {"type": "classification", "classes": ["0", "1"]}
    fields = [{"name": name, "type": "number"} for name in ("x", "y")]
    project_id = client.project(task=task, features={"type": "tabular", "fields": fields})
    rows = [{"id": f"e{n}", "data": {"x": n % 2 * 9 + n / 100, "y": 1, "z": 1000}} for n in range(60)]
    assert client.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows}).status_code == 200
    path = f"/v1/projects/{project_id}"
    features = {"type": "tabular", "fields": fields, "featurizer": "example_totals"}
    changed = client.http.patch(path, json={"features": features}, headers={"If-Match": "*"})
    client.succeeded(changed.json()["featurization_job_id"])
    client.label(project_id, {f"e{n}": str(n % 2) for n in range(30)})
    client.succeeded(client.train(project_id))
    model = client.http.get(f"{path}/models/1").json()
    assert model["estimator"]["features"]["array"].startswith("features:example_totals-")
    client.succeeded(client.query(project_id, strategy="badge"))
    examples = [{"data": {"x": 9, "z": -1000}}, {"data": {"y": 1}}]
    answer = client.http.post(f"{path}/models/1/predict", json={"examples": examples}, headers=WAIT)
    assert [said["label"] for said in answer.json()["predictions"]] == ["1", "0"]


@pytest.mark.processes
@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"featurizer": "nobody"}, "/features/featurizer"),
        ({"featurizer": "vector"}, "/features/featurizer"),
        ({"featurizer": "example_lengths", "params": {"n_features": 1024}}, "/features/params/n_features"),
    ],
)
def test_what_does_not_fit_is_refused(client: Client, change: dict[str, Any], pointer: str) -> None:
    task = {"type": "classification", "classes": ["0", "1"]}
    body = {"name": "x", "task": task, "features": {"type": "text", "field": "text", **change}}
    answer = client.http.post("/v1/projects", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
