"""Projects that get other features while they go on."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from service.actions import jobs
from service.api.deps.runtime import utc_now
from service.db.tables import Chunk, Job, Model
from tests.support.embeddings import write_model
from tests.support.pools import add_examples, batch
from tests.support.runtime import Api, make_api, make_runtime
from tests.support.tables import FIELDS, add_rows, tabular
from tests.support.tables import train as train_table
from tests.support.texts import TEXT, add_texts, label_texts, text_of, text_project
from tests.support.working import drain, run_job
from workers.jobs import features, featurization, train
from workers.learning.featurizers import embedding

EMBEDDING = {**TEXT, "featurizer": "embedding", "params": {"max_tokens": 64}}
TERMS = {**TEXT, "params": {"n_features": 4096}}


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Api]:
    runtime = make_runtime(tmp_path, database_url=database_url, embedding_model=write_model(tmp_path / "model"))
    made = make_api(runtime)
    with made.http:
        yield made
    runtime.database.close()


def project_of(api: Api, project_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get(f"/v1/projects/{project_id}").json()
    return found


def change(api: Api, project_id: str, features: dict[str, Any], *, status: int = 200) -> dict[str, Any]:
    path = f"/v1/projects/{project_id}"
    etag = api.http.get(path).headers["ETag"]
    answer = api.http.patch(path, json={"features": features}, headers={"If-Match": etag})
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def job_of(api: Api, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get(f"/v1/jobs/{job_id}").json()
    return found


def arrays(api: Api, project_id: str) -> dict[str, int]:
    """How many rows of each array of features are there."""
    with api.runtime.database.read() as session:
        found: dict[str, int] = {}
        for chunk in session.scalars(select(Chunk).where(Chunk.project_id == project_id, Chunk.retired.is_(None))):
            if chunk.array.startswith("features:"):
                found[chunk.array] = found.get(chunk.array, 0) + chunk.stop - chunk.start
        return found


def trained(api: Api, **changes: Any) -> str:
    """A project with a model of terms."""
    project_id = text_project(api, **changes)
    add_texts(api, project_id, 60)
    label_texts(api, project_id, range(30))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    return project_id


def predicted(api: Api, project_id: str, version: int) -> list[str]:
    answer = api.http.post(
        f"/v1/projects/{project_id}/models/{version}/predict",
        json={"examples": [{"data": {"text": text_of(n)}} for n in (2, 3)]},
        headers={"Prefer": "wait=0"},
    )
    drain(api.runtime)
    return [one["label"] for one in job_of(api, answer.json()["id"])["result"]["predictions"]]


def test_a_project_goes_on_with_what_it_has_until_all_is_there(api: Api) -> None:
    project_id = trained(api, retraining={"automatic": True, "first_at": 10, "every": 20})
    before = project_of(api, project_id)
    changed = change(api, project_id, EMBEDDING)
    assert changed["features"] == before["features"]
    job_id = changed["featurization_job_id"]
    assert job_of(api, job_id)["kind"] == "featurization"
    assert project_of(api, project_id)["featurization_job_id"] == job_id
    run_job(api.runtime, job_id)
    after = project_of(api, project_id)
    assert (after["features"], after["featurization_job_id"]) == (EMBEDDING, None)
    assert job_of(api, job_id)["result"]["rows"] == 60
    # The model of before serves, with its own features, also of rows that are new.
    add_texts(api, project_id, 4, first=60)
    asked = api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 5, "strategy": "margin"}).json()["id"]
    run_job(api.runtime, asked)
    assert api.http.get(f"/v1/jobs/{asked}/batch").json()["model"]["version"] == 1
    assert {name.partition("-")[0]: rows for name, rows in arrays(api, project_id).items()} == {
        "features:text": 64,
        "features:embedding": 60,
    }
    drain(api.runtime)  # the training that the switch has asked for
    assert project_of(api, project_id)["counts"]["model_version"] == 2
    models = api.http.get(f"/v1/projects/{project_id}/models").json()["items"]
    assert [model["estimator"]["features"]["definition"] for model in models] == [EMBEDDING, before["features"]]
    (left,) = arrays(api, project_id)
    assert left.startswith("features:embedding-")
    assert predicted(api, project_id, 1) == predicted(api, project_id, 2) == ["a", "b"]
    card = api.http.get(f"/v1/projects/{project_id}/models/1/card").json()
    assert card["features"] == before["features"]
    # An older version serves again, with features that are made again.
    api.http.post(f"/v1/projects/{project_id}/models/1/activate", json={"pin": False})
    assert batch(api, project_id, k=5, strategy="margin")["model"]["version"] == 1


def test_rows_that_come_meanwhile_are_made_before_the_switch(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = trained(api)
    fill, left = features.fill_features, [7, 5]

    def then_upload(*args: Any) -> None:
        fill(*args)
        if left:
            add_texts(api, project_id, left.pop(), first=60 + 10 * len(left))

    monkeypatch.setattr(featurization, "fill_features", then_upload)
    job_id = change(api, project_id, EMBEDDING)["featurization_job_id"]
    run_job(api.runtime, job_id)
    assert job_of(api, job_id)["result"]["rows"] == 72
    assert arrays(api, project_id)[job_of(api, job_id)["result"]["array"]] == 72


def test_rows_that_never_cease_to_come_are_left_to_who_needs_them(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = trained(api)
    fill, count = features.fill_features, iter(range(60, 1000))

    def then_upload(*args: Any) -> None:
        fill(*args)
        add_texts(api, project_id, 1, first=next(count))

    monkeypatch.setattr(featurization, "fill_features", then_upload)
    run_job(api.runtime, change(api, project_id, EMBEDDING)["featurization_job_id"])
    assert project_of(api, project_id)["features"] == EMBEDDING
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    assert batch(api, project_id, k=20, strategy="margin")["model"]["version"] == 2


class Interrupted:
    """Makes embeddings, and does something else the second time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, otherwise: Any) -> None:
        self.made: list[int] = []
        self.featurize, self.otherwise = embedding._featurize, otherwise  # noqa: SLF001  # what its door calls
        monkeypatch.setattr(embedding, "_featurize", self)

    def __call__(self, model: Any, texts: Any, params: Any) -> Any:
        given = list(texts)
        if len(self.made) == 1:
            self.made.append(0)
            self.otherwise()
        self.made.append(len(given))
        return self.featurize(model, given, params)


@pytest.fixture
def large(api: Api) -> str:
    """A project of more than one tile, without labels."""
    project_id = text_project(api)
    add_texts(api, project_id, 9000)
    return project_id


def test_a_lost_job_goes_on_where_it_was(api: Api, large: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose() -> None:
        with api.runtime.database.write() as session:
            job = session.scalars(select(Job).where(Job.kind == "featurization")).one()
            assert not jobs.give_back(session, job, now=utc_now() - timedelta(hours=1), max_attempts=8)

    work = Interrupted(monkeypatch, lose)
    job_id = change(api, large, EMBEDDING)["featurization_job_id"]
    run_job(api.runtime, job_id)
    lost = job_of(api, job_id)
    assert (lost["state"], lost["attempts"]) == ("queued", 1)
    assert project_of(api, large)["features"]["params"] != EMBEDDING["params"]
    run_job(api.runtime, job_id)
    ended = job_of(api, job_id)
    assert (ended["state"], ended["attempts"], ended["progress"]["phase"]) == ("succeeded", 2, "succeeded")
    assert work.made == [8192, 0, 808, 808]  # the first of these two could store nothing
    assert project_of(api, large)["features"] == EMBEDDING


def test_a_cancelled_job_changes_nothing_and_another_may_follow(
    api: Api, large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = project_of(api, large)["features"]
    job_id = ""
    Interrupted(monkeypatch, lambda: api.http.post(f"/v1/jobs/{job_id}/cancel"))  # may end the job at once, here
    job_id = change(api, large, EMBEDDING)["featurization_job_id"]
    assert f"The job {job_id}" in change(api, large, TERMS, status=409)["detail"]
    run_job(api.runtime, job_id)
    assert job_of(api, job_id)["state"] == "cancelled"
    found = project_of(api, large)
    assert (found["features"], found["featurization_job_id"]) == (before, None)
    run_job(api.runtime, change(api, large, TERMS)["featurization_job_id"])
    assert project_of(api, large)["features"]["params"]["n_features"] == 4096


def test_trainings_beside_it_keep_what_it_makes(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = trained(api)
    job_id = change(api, project_id, EMBEDDING)["featurization_job_id"]
    label_texts(api, project_id, range(30, 40))
    asked = api.http.post(f"/v1/projects/{project_id}/trainings").json()["id"]
    measure = train._measure  # noqa: SLF001  # the moment between what a training reads and what it stores

    def switch_first(*args: Any) -> Any:
        run_job(api.runtime, job_id)
        return measure(*args)

    monkeypatch.setattr(train, "_measure", switch_first)
    run_job(api.runtime, asked)
    monkeypatch.setattr(train, "_measure", measure)
    newest = api.http.get(f"/v1/projects/{project_id}/models/2").json()
    assert newest["estimator"]["features"]["array"].startswith("features:text-")
    assert sorted(arrays(api, project_id).values()) == [60, 60]
    assert project_of(api, project_id)["counts"]["labels_since_model"] == 1
    assert batch(api, project_id, k=5, strategy="margin")["model"]["version"] == 2
    waiting = change(api, project_id, {**EMBEDDING, "params": {"max_tokens": 8}})["featurization_job_id"]
    assert api.http.post(f"/v1/projects/{project_id}/trainings").status_code == 202
    drain(api.runtime)
    assert job_of(api, waiting)["state"] == "succeeded"
    assert project_of(api, project_id)["counts"]["model_version"] == 3


def test_models_of_earlier_releases_learn_what_they_were_trained_on(api: Api) -> None:
    project_id = trained(api)
    with api.runtime.database.write() as session:
        model = session.scalars(select(Model)).one()
        model.estimator = {name: value for name, value in model.estimator.items() if name != "features"}
    before = project_of(api, project_id)["features"]
    run_job(api.runtime, change(api, project_id, EMBEDDING)["featurization_job_id"])
    assert batch(api, project_id, k=5, strategy="margin")["model"]["version"] == 1
    assert predicted(api, project_id, 1) == ["a", "b"]
    model = api.http.get(f"/v1/projects/{project_id}/models/1").json()
    assert model["estimator"]["features"] == {"definition": before}


def test_tables_are_made_with_other_parameters(api: Api) -> None:
    project_id = tabular(api)
    add_rows(api, project_id, 60)
    train_table(api, project_id, 20)
    features = {"type": "tabular", "fields": FIELDS, "params": {"latent": 2}}
    job_id = change(api, project_id, features)["featurization_job_id"]
    run_job(api.runtime, job_id)
    assert project_of(api, project_id)["features"]["params"]["latent"] == 2
    assert batch(api, project_id, k=5, strategy="badge")["model"]["version"] == 1
    newest = train_table(api, project_id, 5, first=30)
    assert newest["estimator"]["features"]["array"] == job_of(api, job_id)["result"]["array"]
    assert newest["version"] == 2


def test_nothing_is_made_of_what_a_project_has(api: Api) -> None:
    project_id = text_project(api)
    assert change(api, project_id, TEXT)["featurization_job_id"] is None
    vectors = api.project()
    add_examples(api, vectors, 5)
    assert change(api, vectors, {"type": "vector", "dimensions": 2})["featurization_job_id"] is None


@pytest.mark.parametrize(
    ("features", "pointer", "code"),
    [
        ({"type": "text", "field": "title"}, "/features/field", "immutable"),
        ({"type": "vector", "dimensions": 3}, "/features/type", "immutable"),
        ({"type": "none"}, "/features/type", "immutable"),
        ({"type": "text", "field": "text", "featurizer": "nobody"}, "/features/featurizer", "unknown_name"),
        ({"type": "text", "field": "text", "params": {"size": 1}}, "/features/params/size", "unknown_parameter"),
        ({"type": "text"}, "/features/field", "missing_field"),
    ],
)
def test_what_features_are_read_from_is_fixed(api: Api, features: dict[str, Any], pointer: str, code: str) -> None:
    project_id = text_project(api)
    refused = change(api, project_id, features, status=422)
    assert [(error["pointer"], error["code"]) for error in refused["errors"]] == [(pointer, code)]
    assert project_of(api, project_id)["featurization_job_id"] is None


@pytest.mark.parametrize("features", [{"type": "vector", "dimensions": 3}, {"type": "none"}])
def test_vectors_are_fixed(api: Api, features: dict[str, Any]) -> None:
    refused = change(api, api.project(), features, status=422)
    assert refused["errors"][0]["code"] == "immutable"
