"""Projects whose texts become embeddings."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.embeddings import write_model
from tests.support.pools import ask, batch
from tests.support.runtime import Api, make_api, make_runtime
from tests.support.texts import add_texts, label_texts, text_project
from tests.support.working import drain, run_job
from workers.jobs import features
from workers.learning.featurizers import embedding
from workers.learning.featurizers.embedding import EmbeddingModelError, EmbeddingModelReplacedError

EMBEDDING = {"type": "text", "field": "text", "featurizer": "embedding"}


@pytest.fixture
def api(tmp_path: Path, database_url: str) -> Iterator[Api]:
    """With a small model of the operator's."""
    folder = write_model(tmp_path / "model")
    runtime = make_runtime(tmp_path, database_url=database_url, embedding_model=folder)
    made = make_api(runtime)
    with made.http:
        yield made
    runtime.database.close()


def train(api: Api, project_id: str) -> dict[str, Any]:
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    newest: dict[str, Any] = api.http.get(f"/v1/projects/{project_id}/models").json()["items"][0]
    return newest


def predicted(api: Api, project_id: str, *texts: str) -> dict[str, Any]:
    answer = api.http.post(
        f"/v1/projects/{project_id}/models/1/predict",
        json={"examples": [{"data": {"text": text}} for text in texts]},
        headers={"Prefer": "wait=0"},
    )
    drain(api.runtime)
    job: dict[str, Any] = api.http.get(f"/v1/jobs/{answer.json()['id']}").json()
    return job


@pytest.mark.any_database
def test_the_loop(api: Api) -> None:
    project_id = text_project(api, features=EMBEDDING)
    add_texts(api, project_id, 60)
    assert len(batch(api, project_id, k=10)["items"]) == 10
    label_texts(api, project_id, range(30))
    model = train(api, project_id)
    assert model["metrics"]["accuracy"]["value"] > 0.9
    assert model["estimator"]["features"]["definition"]["params"] == {"max_tokens": 512}
    assert model["estimator"]["features"]["array"].startswith("features:embedding-")
    assert str(api.runtime.settings.embedding_model) not in str(model)
    add_texts(api, project_id, 5, first=60)
    assert len(batch(api, project_id, k=20, strategy="badge")["items"]) == 20
    job = predicted(api, project_id, "up up", "down left down")
    assert [one["label"] for one in job["result"]["predictions"]] == ["a", "b"]


def test_other_weights_make_nothing_for_a_model_that_learnt_from_these(api: Api, tmp_path: Path) -> None:
    project_id = text_project(api, features=EMBEDDING)
    add_texts(api, project_id, 60)
    label_texts(api, project_id, range(30))
    train(api, project_id)
    other = api.runtime.settings.model_copy(update={"embedding_model": write_model(tmp_path / "other", scale=3.0)})
    changed = Api(replace(api.runtime, settings=other), api.http)
    assert len(batch(changed, project_id, k=5, strategy="margin", lease_seconds=0)["items"]) == 5  # all are made
    add_texts(changed, project_id, 5, first=60)
    job_id = ask(changed, project_id, k=5, strategy="margin")
    drain(changed.runtime)
    for job in (api.http.get(f"/v1/jobs/{job_id}").json(), predicted(changed, project_id, "up")):
        assert job["state"] == "failed"
        assert "Start a training" in job["error"]["detail"]
    assert train(changed, project_id)["version"] == 2
    assert len(batch(changed, project_id, k=5, strategy="margin")["items"]) == 5


@pytest.mark.any_database
def test_without_the_extra_projects_are_refused_and_jobs_say_why(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = text_project(api, features=EMBEDDING)
    add_texts(api, project_id, 5)
    monkeypatch.setitem(sys.modules, "model2vec", None)  # as it is where it is not installed
    body = {"name": "x", "task": {"type": "classification", "classes": ["a", "b"]}, "features": EMBEDDING}
    refused = api.http.post("/v1/projects", json=body)
    assert refused.status_code == 422
    assert refused.json()["type"].endswith("/problems/unsupported-feature")
    assert refused.json()["errors"][0]["pointer"] == "/features/featurizer"
    assert "the extra `embedding`" in refused.json()["detail"]
    told = {entry["name"]: entry for entry in api.http.get("/v1/featurizers").json()["items"]}
    assert (told["embedding"]["installed"], told["embedding"]["extra"]) == (False, "embedding")
    assert (told["text"]["installed"], told["text"]["extra"]) == (True, None)
    job_id = ask(api, project_id, k=2)
    drain(api.runtime)
    job = api.http.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["attempts"]) == ("failed", 1)
    assert "the extra `embedding`" in job["error"]["detail"]


def test_what_was_made_is_kept_when_a_worker_is_lost(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = text_project(api, features=EMBEDDING)
    add_texts(api, project_id, 9000)
    made: list[int] = []
    featurize = embedding._featurize  # noqa: SLF001  # what its door calls

    def counted(model: Any, texts: Any, params: Any) -> Any:
        given = list(texts)
        if made and len(made) < 2:
            made.append(0)
            raise OSError("The disk is away.")
        made.append(len(given))
        return featurize(model, given, params)

    monkeypatch.setattr(embedding, "_featurize", counted)
    ask(api, project_id, k=5)
    drain(api.runtime)
    assert batch(api, project_id, k=5)["items"]
    assert sum(made) == 9000


def test_a_job_whose_model_is_replaced_meanwhile_begins_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = text_project(api, features=EMBEDDING)
    add_texts(api, project_id, 10)
    featurize, told = embedding._featurize, [EmbeddingModelReplacedError("It is another one.")]  # noqa: SLF001  # what its door calls

    def replaced_once(model: Any, texts: Any, params: Any) -> Any:
        if told:
            raise told.pop()
        return featurize(model, texts, params)

    monkeypatch.setattr(embedding, "_featurize", replaced_once)
    job_id = ask(api, project_id, k=5)
    assert not run_job(api.runtime, job_id)
    assert run_job(api.runtime, job_id)


def test_a_job_whose_model_is_replaced_between_its_name_and_its_use_begins_again(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = text_project(api, features=EMBEDDING)
    add_texts(api, project_id, 10)
    check, left = features._check_weights, [3.0]  # noqa: SLF001  # the last step before rows are made

    def replace_once(*given: Any) -> None:
        if left:
            shutil.rmtree(tmp_path / "model")
            write_model(tmp_path / "model", scale=left.pop())
        check(*given)

    monkeypatch.setattr(features, "_check_weights", replace_once)
    job_id = ask(api, project_id, k=5)
    assert not run_job(api.runtime, job_id)
    assert api.http.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"
    assert run_job(api.runtime, job_id)


def test_a_model_that_cannot_be_read_is_named_as_the_reason(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = text_project(api, features=EMBEDDING)
    add_texts(api, project_id, 10)

    def unreadable(*_: Any) -> Any:
        raise EmbeddingModelError("/models/mine cannot be read")

    monkeypatch.setattr(embedding, "_featurize", unreadable)
    job_id = ask(api, project_id, k=5)
    assert not run_job(api.runtime, job_id)
    error = api.http.get(f"/v1/jobs/{job_id}").json()["error"]
    assert error["type"].endswith("/unsupported-feature")
    assert "embedding model" in error["detail"]
    assert "/models" not in error["detail"]
