"""Projects whose examples are rows of a table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sqlalchemy import delete, select

from service.actions.predictions import chunk_of
from service.db.tables import Chunk, Model, ObjectDigest
from service.storage.artifacts import encoder_key, model_encoder_key
from service.storage.chunks import open_dense
from tests.support.pools import add_examples, add_labels, batch
from tests.support.runtime import Api
from tests.support.tables import add_rows, row_of, tabular, train
from tests.support.working import drain
from workers.learning.featurizers.tabular import TabularEncoder


def arrays_of(api: Api, project_id: str) -> dict[str, list[tuple[int, int]]]:
    """The live chunks of features by array."""
    with api.runtime.database.read() as session:
        query = select(Chunk).where(Chunk.project_id == project_id, Chunk.retired.is_(None))
        found: dict[str, list[tuple[int, int]]] = {}
        for chunk in session.scalars(query.order_by(Chunk.start)):
            if chunk.array.startswith("features:"):
                found.setdefault(chunk.array, []).append((chunk.start, chunk.stop))
        return found


def predicted(api: Api, project_id: str, version: int, *rows: dict[str, Any]) -> list[str]:
    answer = api.http.post(
        f"/v1/projects/{project_id}/models/{version}/predict",
        json={"examples": [{"data": row} for row in rows]},
        headers={"Prefer": "wait=0"},
    )
    assert answer.status_code == 202, answer.text
    drain(api.runtime)
    job = api.http.get(f"/v1/jobs/{answer.json()['id']}").json()
    return [one["label"] for one in job["result"]["predictions"]]


@pytest.mark.any_database
@pytest.mark.parametrize("estimator", ["logistic_regression", "hist_gradient_boosting", "knn"])
def test_the_loop(api: Api, estimator: str) -> None:
    project_id = tabular(api, estimator={"name": estimator, "params": {}})
    add_rows(api, project_id, 120)
    assert len(batch(api, project_id, k=10)["items"]) == 10
    model = train(api, project_id, 40)
    assert model["metrics"]["accuracy"]["value"] > 0.9
    told = {field["name"]: field for field in model["estimator"]["features"]["fields"]}
    assert (told["plan"]["categories"], told["plan"]["other_share"]) == (2, 0.0)
    ranked = batch(api, project_id, k=20, strategy="margin")
    assert {item["prediction"]["label"] for item in ranked["items"]} <= {"a", "b"}
    unseen = {"amount": 101, "plan": "platinum", "note": "good fast"}
    assert predicted(api, project_id, 1, unseen, {"plan": "basic", "amount": 2}) == ["b", "a"]


@pytest.mark.any_database
def test_a_model_of_tables_leaves_with_its_encoder(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project_id = tabular(api)
    add_rows(api, project_id, 60)
    train(api, project_id, 20)
    answer = api.http.get(f"/v1/projects/{project_id}/models/1/card")
    assert answer.status_code == 200, answer.text
    skops_form, encoder, onnx = answer.json()["formats"]
    assert (encoder["format"], encoder["available"]) == ("encoder", True)
    assert not onnx["available"]
    assert "tabular" in onnx["reason"]
    for form in (skops_form, encoder):
        file = api.http.get(form["url"])
        assert file.headers["Content-Disposition"].endswith(f'"{project_id}-1.{form["format"]}"')
        (tmp_path / f"{project_id}-1.{form['format']}").write_bytes(file.content)
    monkeypatch.chdir(tmp_path)
    named: dict[str, Any] = {}
    exec(skops_form["load"]["python"], named)  # noqa: S102 - what the card tells people to run
    assert capsys.readouterr().out.splitlines()[-1].startswith(("['a'] ", "['b'] "))
    rows = [row_of(n) for n in range(40, 60)]
    said = named["model"].predict(named["encoder"].encode(rows))
    assert [named["classes"][code] for code in said] == predicted(api, project_id, 1, *rows)


def test_models_of_vectors_have_no_encoder(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 20)
    add_labels(api, project_id, range(10))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    refused = api.http.get(f"/v1/projects/{project_id}/models/1/artifact?format=encoder")
    assert refused.status_code == 404
    assert "Only models of tables have an encoder" in refused.json()["detail"]


def planted_encoders() -> list[bytes]:
    """Files that are no encoders, although some look so."""
    note = {"name": "a", "type": "number"}
    numbers = TabularEncoder.fit([{"a": 1}, {"a": 2}], [note], {"max_categories": 1}).parts[0]
    shaped = [
        ([["a"]], [], []),
        ([], [], []),
        ([["a", "number"]], [numbers], []),
        ([["a", "colour"]], [numbers], [{"name": "a", "type": "colour"}]),
        ([["a", "category"]], [numbers], [{"name": "a", "type": "category"}]),
        ([["a", "number"]], [make_pipeline(StandardScaler())], [note]),
        ([["a", "number"]], [numbers], [{**note, "categories": "many"}]),
    ]
    files = [{"fields": fields, "parts": parts, "told": told} for fields, parts, told in shaped]
    return [b"no file", *map(skops.io.dumps, [{"fields": []}, LogisticRegression(), *files])]


@pytest.mark.any_database
def test_a_planted_encoder_fails_a_prediction_at_once_and_is_never_run(api: Api) -> None:
    project_id = tabular(api)
    add_rows(api, project_id, 60)
    train(api, project_id, 20)
    with api.runtime.database.read() as session:
        key = model_encoder_key(session.scalars(select(Model.artifact_key)).one())
    with api.runtime.database.write() as session:  # of an earlier release, which recorded nothing of its files
        session.execute(delete(ObjectDigest))
    for planted in planted_encoders():
        api.runtime.objects.put_bytes(key, planted)
        path = f"/v1/projects/{project_id}/models/1/predict"
        asked = api.http.post(path, json={"examples": [{"data": {"amount": 1}}]}, headers={"Prefer": "wait=0"})
        drain(api.runtime)
        job = api.http.get(f"/v1/jobs/{asked.json()['id']}").json()
        assert (job["state"], job["attempts"]) == ("failed", 1)
        assert job["error"]["type"].endswith("/problems/damaged-object"), job
        assert key in job["error"]["detail"]


@pytest.mark.any_database
@pytest.mark.parametrize(
    "task", [{"type": "regression"}, {"type": "classification", "classes": ["a", "b"], "multi_label": True}]
)
def test_other_tasks(api: Api, task: dict[str, Any]) -> None:
    project_id = tabular(api, task=task)
    add_rows(api, project_id, 60)
    values = [row_of(n).get("amount", 50.0) if task["type"] == "regression" else ["ab"[n % 2]] for n in range(30)]
    labels = [{"example_id": f"e{n}", "label": value} for n, value in enumerate(values)]
    assert api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": labels}).status_code == 200
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    assert len(batch(api, project_id, k=5)["items"]) == 5
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["model_version"] == 1


def test_new_uploads_featurize_only_what_is_new(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = tabular(api)
    add_rows(api, project_id, 1500)
    train(api, project_id, 20)
    encoded: list[int] = []
    encode = TabularEncoder.encode

    def counted(self: TabularEncoder, rows: Any) -> Any:
        encoded.append(len(rows))
        return encode(self, rows)

    monkeypatch.setattr(TabularEncoder, "encode", counted)
    add_rows(api, project_id, 7, first=1500)
    batch(api, project_id, k=5)
    assert encoded == [2, 7]  # the kept encoder is tried on two rows as it is opened
    assert list(arrays_of(api, project_id).values()) == [[(0, 1500), (1500, 1507)]]


def test_what_is_learnt_from_few_rows_is_learnt_anew_from_more(api: Api) -> None:
    project_id = tabular(api)
    add_rows(api, project_id, 20)
    train(api, project_id, 20)
    (before,) = arrays_of(api, project_id)
    add_rows(api, project_id, 100, first=20)
    first = batch(api, project_id, k=5, strategy="margin")
    assert first["model"]["version"] == 1
    assert arrays_of(api, project_id) == {before: [(0, 120)]}  # the model goes on seeing what it was trained on
    assert train(api, project_id, 20, first=20)["version"] == 2
    (after,) = arrays_of(api, project_id)
    assert after != before
    answer = api.http.post(f"/v1/projects/{project_id}/models/1/activate")
    assert answer.status_code == 200, answer.text
    again = batch(api, project_id, k=5, strategy="margin")
    assert again["model"]["version"] == 1
    assert before in arrays_of(api, project_id)
    assert predicted(api, project_id, 1, row_of(3), row_of(4)) == ["b", "a"]


def test_a_lost_encoder_is_taken_from_the_model(api: Api) -> None:
    project_id = tabular(api)
    add_rows(api, project_id, 100)
    train(api, project_id, 20)
    (array,) = arrays_of(api, project_id)
    key = encoder_key(project_id, array)
    kept = api.runtime.objects.get(key)
    api.runtime.objects.delete(key)
    add_rows(api, project_id, 5, first=100)
    batch(api, project_id, k=5)
    again = TabularEncoder.load(api.runtime.objects.get(key))
    rows = [row_of(n) for n in range(30)]
    np.testing.assert_array_equal(again.encode(rows), TabularEncoder.load(kept).encode(rows))


def test_deleted_rows_become_zeros(api: Api) -> None:
    project_id = tabular(api)
    add_rows(api, project_id, 50)
    assert api.http.delete(f"/v1/projects/{project_id}/examples/e3").status_code == 204
    batch(api, project_id, k=5)
    ((array, [span]),) = arrays_of(api, project_id).items()
    assert span == (0, 50)
    with api.runtime.database.read() as session:
        chunk = session.scalars(select(Chunk).where(Chunk.array == array, Chunk.retired.is_(None))).one()
        X = open_dense(api.runtime.objects, chunk_of(chunk))
    assert not X[3].any()
    assert np.isfinite(X).all()
    assert X[4].any()


def test_a_model_of_the_clients_own_serves_a_table(api: Api) -> None:
    project_id = tabular(api)
    add_rows(api, project_id, 40)
    rows = [{"id": f"e{n}", "probabilities": [0.5 + n / 100, 0.5 - n / 100]} for n in range(40)]
    path = f"/v1/projects/{project_id}"
    assert api.http.post(f"{path}/predictions?model=mine", json={"predictions": rows}).status_code == 200
    assert api.http.post(f"{path}/models/1/activate").status_code == 200
    assert len(batch(api, project_id, k=5, strategy="badge")["items"]) == 5
