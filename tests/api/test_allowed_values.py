"""A value outside an enumeration: the problem says which values are allowed."""

import io
from typing import Any

import pyarrow.feather
import pytest

from tests.codecs.bodies import ARROW, PARQUET
from tests.codecs.tables import table_body, vectors
from tests.support.runtime import Api

pytestmark = pytest.mark.any_database


def _refused(api: Api, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
    answer = api.http.request(method, path, json=body, headers={"If-Match": "*", **headers})
    assert answer.status_code == 422, answer.text
    problem: dict[str, Any] = answer.json()
    return problem


@pytest.mark.parametrize(
    ("method", "path", "body", "allowed"),
    [
        ("GET", "examples?status=done", None, ("'unlabeled'", "'labeled'")),
        ("GET", "jobs?state=done", None, ("'queued'", "'succeeded'", "'cancelled'")),
        ("GET", "jobs?kind=game", None, ("'query'", "'training'", "'deletion'")),
        ("GET", "models/1/artifact?format=pickle", None, ("'skops'", "'encoder'", "'onnx'")),
        ("POST", "labels?mode=some", {"labels": []}, ("'atomic'", "'partial'")),
        ("POST", "examples", {"examples": [{"id": "e", "vector": [1, 2], "split": "x"}]}, ("pool, test, gold",)),
        ("POST", "labels", {"labels": [{"example_id": "e", "label": "a", "source": "x"}]}, ("human, automated",)),
        ("POST", "predictions?model=m", {"predictions": [{"id": "e", "probabilities": {"a": 1, "z": 0}}]}, ("a, b",)),
        ("POST", "queries", {"k": 1, "strategy": "margn"}, ("Known are: auto", " more.", "Did you mean `margin`?")),
        (
            "POST",
            "queries",
            {"k": 1, "strategy": "Uncertainty"},
            ("Did you mean `margin` or `least_confident` or `entropy`?",),
        ),
        ("POST", "queries", {"k": 1, "candidates": {"strategy": "qbc", "count": 1}}, ("Did you mean `vote_entropy`",)),
        ("PATCH", "", {"query": {"strategy": "core-set"}}, ("Known are: auto", "Did you mean `k_center`?", "GET /v1/")),
        ("POST", "queries", {"k": 1, "strategy": {"name": "margin"}}, ('{"strategy": "margin", "params": {}}',)),
        ("PATCH", "", {"query": {"strategy": ["margin"]}}, ("as a string",)),
        ("POST", "queries", {"k": 1, "size": 2}, ("Known are: k, strategy, params, ",)),
        (
            "POST",
            "queries",
            {"k": 1, "candidates": {"strategy": "margin", "count": 1, "parms": {}}},
            ("Did you mean `params`? Known are: strategy, params, count.",),
        ),
        ("POST", "trainings", {"full": True}, ("This operation takes no fields.",)),
        ("PATCH", "", {"retrain": {}}, ("Did you mean `retraining`? Known are: name, task, ",)),
        (
            "PATCH",
            "",
            {"features": {"type": "tabular", "fields": [{"name": "x", "type": "text", "of": 1}]}},
            ("Known are: name, type.",),
        ),
        ("POST", "queries", {"k": 1, "strategy": "x"}, ("random, ", "margin, ", "entropy, ", "GET /v1/strategies")),
        ("POST", "examples", {"examples": [{"id": "e", "vektor": [1, 2]}]}, ("Known are: id, vector, data, label, ",)),
        ("POST", "labels", {"labels": [{"example_id": "e", "class": "a"}]}, ("Known are: example_id, label, skip",)),
        ("POST", "queries", {"k": 1, "candidates": {"strategy": "badge", "count": 1}}, ("entropy", "margin")),
        ("POST", "queries", {"k": 1, "filter": {"x": 1}}, ("kind, language",)),
        ("PATCH", "", {"goal": {"find": "z"}}, ("a, b",)),
        ("PATCH", "", {"goal": {"metric": "r2", "at_least": 0.5}}, ("accuracy, balanced_accuracy, macro_f1",)),
        ("PATCH", "", {"rename_classes": {"z": "y"}}, ("a, b",)),
        ("PATCH", "", {"merge_classes": {"a": "z"}}, ("that stay: b.",)),
        ("PATCH", "", {"features": {"type": "image"}}, ("'vector'", "'tabular'")),
        ("PATCH", "", {"estimator": {"name": "forest"}}, ("logistic_regression, ", "random_forest")),
        ("PATCH", "", {"estimator": {"params": {"scalling": 1}}}, ("scaling", "Did you mean `scaling`?")),
        ("PATCH", "", {"annotation": {"truth": "loudest"}}, ("'majority'", "'dawid_skene'")),
    ],
)
def test_what_is_allowed_is_told(api: Api, method: str, path: str, body: Any, allowed: tuple[str, ...]) -> None:
    base = f"/v1/projects/{api.project()}"
    rows = [{"id": "e", "vector": [0, 1], "data": {"language": "en", "kind": 1}}]
    assert api.http.post(f"{base}/examples", json={"examples": rows}).status_code == 200
    problem = _refused(api, method, f"{base}/{path}".rstrip("/"), body)
    for name in allowed:
        assert name in problem["errors"][0]["detail"], problem


def test_what_is_allowed_in_tables_and_csv_is_told(api: Api) -> None:
    path = f"/v1/projects/{api.project()}/examples"
    table = table_body({"id": ["e"], "vector": vectors([[0.0, 1.0]]), "split": ["x"]}, PARQUET)
    for media, body in ((PARQUET, table), ("text/csv", b"id,x0,x1,split\ne,0,1,x\n")):
        answer = api.http.post(path, content=body, headers={"Content-Type": media})
        assert answer.json()["errors"][0]["detail"] == "Must be one of: pool, test, gold."


def test_a_table_in_the_form_of_a_file_is_named(api: Api) -> None:
    path = f"/v1/projects/{api.project()}/examples"
    file = io.BytesIO()
    pyarrow.feather.write_feather(pyarrow.table({"id": ["e"]}), file)
    for media in (ARROW, PARQUET):
        answer = api.http.post(path, content=file.getvalue(), headers={"Content-Type": media})
        assert answer.status_code == 400
        assert "Arrow IPC file (Feather)" in answer.json()["detail"]
        assert "pyarrow.ipc.new_stream" in answer.json()["detail"]


def test_rows_whose_line_ends_were_stripped_are_told_how_to_be_sent(api: Api) -> None:
    path = f"/v1/projects/{api.project()}/examples"
    body = b'{"id": "e1", "vector": [0, 1]}{"id": "e2", "vector": [0, 1]}'
    for sent in (body, body.replace(b"e1", b"e" * 5_000_000)):
        answer = api.http.post(path, content=sent, headers={"Content-Type": "application/x-ndjson"})
        assert "`curl --data-binary` keeps the ends of lines" in answer.text


def test_events_that_there_are_are_told(api: Api) -> None:
    problem = _refused(api, "POST", "/v1/webhooks", {"url": "https://tool.example.com/", "events": ["trained"]})
    assert problem["errors"][0]["detail"].startswith("Known events are training.succeeded, ")
    assert "webhook.test" in problem["errors"][0]["detail"]


def test_of_many_classes_the_first_are_told(api: Api) -> None:
    classes = [f"c{number}" for number in range(30)]
    base = f"/v1/projects/{api.project(task={'type': 'classification', 'classes': classes})}"
    problem = _refused(api, "PATCH", base, {"goal": {"find": "z"}})
    assert problem["errors"][0]["detail"].endswith(", c18, c19 and 10 more.")
