"""Models that leave the service: files, cards, and why some are refused."""

import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import numpy as np
import onnxruntime
import pytest
import skops.io
from numpy.testing import assert_allclose

from service.actions import exports, models, projects
from service.actions.jobs import Room
from service.api.deps.runtime import utc_now
from tests.support.own_models import own_model, said
from tests.support.pools import add_examples, add_labels
from tests.support.runtime import Api
from tests.support.working import drain
from workers.learning import onnx_format

MANUAL: dict[str, Any] = {"retraining": {"automatic": False}}


def trained(api: Api, estimator: str = "logistic_regression", **changes: Any) -> str:
    project_id = api.project(**MANUAL, estimator={"name": estimator, "params": {}}, **changes)
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(20))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    return project_id


def path(project_id: str, form: str = "onnx", version: int = 1) -> str:
    return f"/v1/projects/{project_id}/models/{version}/artifact?format={form}"


def converted(api: Api, project_id: str) -> bytes:
    assert api.http.get(path(project_id)).status_code == 202
    drain(api.runtime)
    answer = api.http.get(path(project_id))
    assert answer.status_code == 200, answer.text
    return answer.content


def said_by_service(api: Api, project_id: str, rows: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    body = {"examples": [{"vector": row} for row in rows.tolist()]}
    asked = api.http.post(f"/v1/projects/{project_id}/models/1/predict", json=body, headers={"Prefer": "wait=0"})
    drain(api.runtime)
    found: list[dict[str, Any]] = api.http.get(asked.headers["Location"]).json()["result"]["predictions"]
    return found


@pytest.mark.any_database
@pytest.mark.parametrize("estimator", ["logistic_regression", "linear_svm", "knn", "extra_trees", "mlp", "auto"])
def test_a_file_says_what_the_service_says(api: Api, estimator: str) -> None:
    project_id = trained(api, estimator)
    rows = np.random.default_rng(1).normal(size=(50, 2)).astype(np.float32) * 5
    session = onnxruntime.InferenceSession(converted(api, project_id), providers=["CPUExecutionProvider"])
    labels, P = session.run(["label", "probabilities"], {"vector": rows})
    expected = said_by_service(api, project_id, rows)
    assert_allclose(P, [[one["probabilities"][name] for name in ("a", "b")] for one in expected], atol=1e-5)
    assert labels.tolist() == [one["label"] for one in expected]


def test_the_file_is_made_once(api: Api) -> None:
    project_id = trained(api)
    first, second = api.http.get(path(project_id)), api.http.get(path(project_id), headers={"Prefer": "wait=0"})
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.headers["Location"] == second.headers["Location"]
    assert second.headers["Retry-After"] == "1"
    assert second.headers["Preference-Applied"] == "wait=0"
    assert drain(api.runtime) == 1
    job = api.http.get(first.headers["Location"]).json()
    assert (job["kind"], job["state"]) == ("export", "succeeded")
    assert job["result"]["bytes"] > 0
    assert api.http.get(job["links"]["artifact"]).content == api.http.get(path(project_id)).content
    assert drain(api.runtime) == 0


def swap(api: Api, project_id: str) -> None:
    answer = api.http.patch(
        f"/v1/projects/{project_id}", json={"rename_classes": {"a": "b", "b": "a"}}, headers={"If-Match": "*"}
    )
    assert answer.status_code == 200, answer.text


def labels_of(file: bytes, row: list[float]) -> list[str]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    labels: list[str] = session.run(["label"], {"vector": np.array([row], dtype=np.float32)})[0].tolist()
    return labels


def test_a_file_is_made_anew_for_renamed_classes(api: Api) -> None:
    project_id = trained(api)
    assert labels_of(converted(api, project_id), [5.0, 0.0]) == ["b"]
    swap(api, project_id)
    assert [key for key in api.runtime.objects.list() if key.endswith(".onnx")] == []
    assert labels_of(converted(api, project_id), [5.0, 0.0]) == ["a"]


def test_a_conversion_that_is_overtaken_by_a_rename_makes_the_file_for_the_new_names(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = trained(api)
    to_onnx, made = onnx_format.to_onnx, []

    def overtaken(*arguments: Any, **options: Any) -> bytes:
        made.append(to_onnx(*arguments, **options))
        if len(made) == 1:
            swap(api, project_id)
        return made[-1]

    monkeypatch.setattr(onnx_format, "to_onnx", overtaken)
    assert labels_of(converted(api, project_id), [5.0, 0.0]) == ["a"]
    assert len([key for key in api.runtime.objects.list() if key.endswith(".onnx")]) == 1


def test_skops_is_the_default_and_ready(api: Api) -> None:
    project_id = trained(api)
    answer = api.http.get(f"/v1/projects/{project_id}/models/1/artifact")
    assert answer.status_code == 200
    assert answer.content == api.http.get(path(project_id, "skops")).content
    assert answer.headers["Link"] == f'</v1/projects/{project_id}/models/1/card>; rel="describedby"'
    model = skops.io.loads(answer.content)
    assert model.predict_proba(np.zeros((1, 2))).shape == (1, 2)


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"estimator": "gaussian_process"}, "gaussian_process"),
        ({"estimator": "hist_gradient_boosting"}, "hist_gradient_boosting"),
        ({"task": {"type": "classification", "classes": ["a", "b"], "multi_label": True}}, "multi_label"),
    ],
)
def test_what_has_no_form_is_refused_with_the_reason(api: Api, changes: dict[str, Any], reason: str) -> None:
    project_id = api.project(**MANUAL, **changes) if "task" in changes else trained(api, **changes)
    if "task" in changes:
        add_examples(api, project_id, 20)
        labels = [{"example_id": f"e{n}", "label": ["a"] if n % 2 else ["b"]} for n in range(20)]
        api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": labels})
        api.http.post(f"/v1/projects/{project_id}/trainings")
        drain(api.runtime)
    refused(api, project_id, reason)
    assert api.http.get(path(project_id, "skops")).status_code == 200


def refused(api: Api, project_id: str, reason: str) -> None:
    answer = api.http.get(path(project_id))
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["type"].endswith("/problems/unsupported-feature")
    assert [(bad["pointer"], bad["code"]) for bad in problem["errors"]] == [("/query/format", "unsupported")]
    assert reason in problem["detail"]
    assert drain(api.runtime) == 0
    onnx = api.http.get(f"/v1/projects/{project_id}/models/1/card").json()["formats"][1]
    assert (onnx["available"], onnx["reason"], onnx["load"]) == (False, problem["detail"], {})


@pytest.mark.any_database
def test_texts_and_numbers_are_refused_with_the_reason(api: Api) -> None:
    texts = api.project(**MANUAL, features={"type": "text", "field": "text"})
    numbers = api.project(
        **MANUAL, task={"type": "regression"}, estimator={"name": "random_forest", "params": {"n_estimators": 10}}
    )
    rows = [{"id": f"e{n}", "data": {"text": f"word{n % 2}"}, "label": "ab"[n % 2]} for n in range(20)]
    api.http.post(f"/v1/projects/{texts}/examples", json={"examples": rows})
    add_examples(api, numbers, 20)
    values = [{"example_id": f"e{n}", "label": float(n)} for n in range(20)]
    api.http.post(f"/v1/projects/{numbers}/labels", json={"labels": values})
    for project_id, reason in ((texts, "text"), (numbers, "regression")):
        api.http.post(f"/v1/projects/{project_id}/trainings")
        drain(api.runtime)
        refused(api, project_id, reason)


def test_a_model_of_ones_own_is_refused(api: Api) -> None:
    project_id = api.project(**MANUAL)
    add_examples(api, project_id, 4)
    own_model(api, project_id, said(range(4)))
    for asked in (path(project_id), path(project_id, "skops"), f"/v1/projects/{project_id}/models/1/card"):
        answer = api.http.get(asked)
        assert answer.status_code == 422
        assert [bad["code"] for bad in answer.json()["errors"]] == ["external_model"]


@pytest.mark.any_database
@pytest.mark.parametrize("package", ["onnx", "skl2onnx"])
def test_without_the_extra_the_reason_is_told(api: Api, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    project_id = trained(api)
    monkeypatch.setitem(sys.modules, package, None)  # as Python says that a package cannot be imported
    assert api.http.get(path(project_id)).status_code == 202
    drain(api.runtime)
    told = api.http.get(path(project_id))
    assert told.status_code == 422
    assert "extra `onnx`" in told.json()["detail"]
    assert drain(api.runtime) == 0
    monkeypatch.undo()
    with api.runtime.write() as session:
        project = projects.get(session, project_id)
        later = utc_now() + timedelta(minutes=2)
        model = models.get(session, project_id, 1)
        exports.ask(session, project, model, now=later, share=10, room=Room.of(api.runtime.settings))
    drain(api.runtime)
    assert api.http.get(path(project_id)).status_code == 200


def test_a_cancelled_conversion_leaves_nothing_and_is_begun_anew(api: Api) -> None:
    project_id = trained(api)
    first = api.http.get(path(project_id)).headers["Location"]
    assert api.http.post(f"{first}/cancel").status_code == 200
    drain(api.runtime)
    again = api.http.get(path(project_id))
    assert again.status_code == 202
    assert again.headers["Location"] != first


def test_many_who_ask_at_once_make_one_job(api: Api) -> None:
    project_id = trained(api)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: api.http.get(path(project_id), headers={"Prefer": "wait=0"}), range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["Location"] for answer in answers}) == 1


@pytest.mark.any_database
@pytest.mark.parametrize("query", ["format=pickle", "format="])
def test_other_forms_are_refused(api: Api, query: str) -> None:
    project_id = trained(api)
    answer = api.http.get(f"/v1/projects/{project_id}/models/1/artifact?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/query/format"


def test_versions_and_projects_that_are_not_there(api: Api) -> None:
    project_id = trained(api)
    stranger = api.key("read", project_id=api.project())
    for form in ("skops", "onnx"):
        assert api.http.get(path(project_id, form, version=2)).status_code == 404
        assert api.http.get(path("prj_none", form)).status_code == 404
        assert api.http.get(path(project_id, form), headers=stranger).status_code == 404
        assert api.http.get(path(project_id, form), headers=api.key("label:write")).status_code == 403
    assert api.http.get(path(project_id), headers=api.key("read", project_id=project_id)).status_code == 202


def test_the_card_tells_what_the_model_is(api: Api) -> None:
    project_id = trained(api)
    card = api.http.get(f"/v1/projects/{project_id}/models/1/card").json()
    model = api.http.get(f"/v1/projects/{project_id}/models/1").json()
    point = api.http.get(f"/v1/projects/{project_id}/progress").json()["curve"][0]
    assert card["curve_point"] == point
    assert point["metrics"] == model["metrics"]
    assert point["labels_used"] == 20
    assert (card["classes"], card["features"]["dimensions"]) == (["a", "b"], 2)
    assert card["estimator"] == "logistic_regression"
    assert card["params"]["C"] > 0
    assert len(card["limits"]) == 1
    assert [form["format"] for form in card["formats"]] == ["skops", "onnx"]
    for form in card["formats"]:
        assert form["available"]
        assert api.http.get(form["url"]).status_code in {200, 202}


@pytest.mark.any_database
def test_the_programs_of_the_card_run(api: Api, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = trained(api, "extra_trees")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(converted(api, project_id))
    (tmp_path / f"{project_id}-1.skops").write_bytes(api.http.get(path(project_id, "skops")).content)
    skops_form, onnx_form = api.http.get(f"/v1/projects/{project_id}/models/1/card").json()["formats"]
    for form in (skops_form, onnx_form):
        exec(form["load"]["python"], {})  # noqa: S102 - what the card tells people to run
