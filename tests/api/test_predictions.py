"""Uploads of predictions: every form, what is refused, and which version they go into."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.actions import prediction_spools, prediction_uploads
from service.api.deps.runtime import utc_now
from service.db.queries import arrays, jobs, projects
from service.storage.objects import ObjectStore
from tests.codecs.bodies import ARROW, CSV, JSON, NDJSON, PARQUET
from tests.codecs.tables import table_body
from tests.support.bodies import lines
from tests.support.own_models import activate, own_model, predictions, said
from tests.support.pools import add_examples
from tests.support.runtime import Api
from tests.support.working import run_job

VECTOR = base64.b64encode(np.array([0.5, 2.0], dtype="<f4").tobytes()).decode()
NAN = base64.b64encode(np.array([0.5, np.nan], dtype="<f4").tobytes()).decode()
ROWS: list[dict[str, Any]] = [
    {"id": "e0", "probabilities": [0.25, 0.75], "vector": [0.5, 2.0]},
    {"id": "e1", "probabilities": [0.5, 0.5], "vector": [1.0, 3.0]},
]
COMMITTEE = [{"a": 0.5, "b": 0.5}, {"a": 1, "b": 0}]
NUMBERS: dict[str, Any] = {"task": {"type": "regression"}, "estimator": {"name": "random_forest", "params": {}}}
SEVERAL = {"task": {"type": "classification", "classes": ["a", "b"], "multi_label": True}}


def filled(api: Api, count: int = 10, **changes: Any) -> str:
    project_id = api.project(**{"retraining": {"automatic": False}, **changes})
    add_examples(api, project_id, count)
    return project_id


def models(api: Api, project_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.http.get(f"/v1/projects/{project_id}/models").json()["items"]
    return found


def uploaded(api: Api) -> list[str]:
    """The files of uploaded predictions."""
    return [key for key in api.runtime.objects.list() if "external" in key]


def last_said(api: Api, project_id: str, example_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = api.http.get(f"/v1/projects/{project_id}/examples/{example_id}").json()["prediction"]
    return found


def forms() -> list[tuple[str, bytes, dict[str, str]]]:
    columns = {
        "id": ["e0", "e1"],
        "probabilities": [row["probabilities"] for row in ROWS],
        "vector": [row["vector"] for row in ROWS],
    }
    shares = pa.array([{"a": 0.25, "b": 0.75}, {"a": 0.5, "b": 0.5}])
    by_class = [{**row, "probabilities": dict(zip("ab", row["probabilities"], strict=True))} for row in ROWS]
    cells = 'id,probabilities,vector\ne0,"[0.25, 0.75]",' + VECTOR + '\ne1,"{""b"": 0.5, ""a"": 0.5}",AACAPwAAQEA=\n'
    return [
        (JSON, json.dumps({"predictions": ROWS}).encode(), {}),
        (NDJSON, gzip.compress(lines(by_class)), {"Content-Encoding": "gzip"}),
        (CSV, cells.encode(), {}),
        (CSV, b'id,x1,probabilities,x0\ne0,2,"[0.25,0.75]",0.5\ne1,3,"[0.5,0.5]",1\n', {}),
        (ARROW, table_body(columns), {}),
        (PARQUET, table_body(columns, PARQUET), {}),
        (ARROW, table_body({**columns, "probabilities": shares}), {}),
    ]


def test_the_same_rows_in_every_form_are_the_same_predictions(api: Api) -> None:
    project_id = filled(api)
    path = f"/v1/projects/{project_id}/predictions?model=mine"
    answers = []
    for media, body, more in forms():
        answer = api.http.post(path, content=body, headers={"Content-Type": media, **more})
        assert answer.status_code == 200, answer.text
        answers.append(answer.json())
    assert [(answer["created"], answer["unchanged"]) for answer in answers] == [(2, 0)] + 6 * [(0, 2)]
    assert {(answer["model_version"], answer["missing"], answer["received"]) for answer in answers} == {(1, 8, 2)}


def test_members_and_numbers_come_as_tables_too(api: Api) -> None:
    project_id = filled(api)
    body = table_body({"id": ["e0"], "members": [[[0.5, 0.5], [1.0, 0.0]]]})
    path = f"/v1/projects/{project_id}/predictions?model=mine"
    assert api.http.post(path, content=body, headers={"Content-Type": ARROW}).json()["created"] == 1
    assert predictions(api, project_id, [{"id": "e0", "members": COMMITTEE}]).json()["unchanged"] == 1
    project_id = filled(api, **NUMBERS)
    body = table_body({"id": ["e0"], "mean": [1.5], "spread": [0.25]}, PARQUET)
    path = f"/v1/projects/{project_id}/predictions?model=mine"
    assert api.http.post(path, content=body, headers={"Content-Type": PARQUET}).json()["created"] == 1
    body = b"id,mean,spread\ne0,1.5,0.25\n"
    assert api.http.post(path, content=body, headers={"Content-Type": CSV}).json()["unchanged"] == 1


def test_uploads_go_into_an_open_version_until_it_is_activated(api: Api) -> None:
    project_id = filled(api)
    first = predictions(api, project_id, said(range(6))).json()
    more = predictions(api, project_id, [*said(range(4, 8)), {"id": "e0", "probabilities": [0.5, 0.5]}]).json()
    other = predictions(api, project_id, said(range(1)), model="other").json()
    assert [(a["model_version"], a["missing"]) for a in (first, more, other)] == [(1, 4), (1, 2), (2, 9)]
    assert (more["created"], more["updated"], more["unchanged"]) == (2, 1, 2)
    assert [(m["name"], m["kind"], m["open"], m["serving"]) for m in models(api, project_id)] == [
        ("other", "external", True, False),
        ("mine", "external", True, False),
    ]
    assert last_said(api, project_id, "e0") is None
    activate(api, project_id, 1)
    assert last_said(api, project_id, "e0") == {
        "label": "a",
        "probabilities": {"a": 0.5, "b": 0.5},
        "model_version": 1,
    }
    assert last_said(api, project_id, "e9") is None
    again = predictions(api, project_id, said(range(3))).json()
    assert (again["model_version"], again["created"], again["missing"]) == (3, 3, 7)
    assert last_said(api, project_id, "e0") == {
        "label": "a",
        "probabilities": {"a": 0.5, "b": 0.5},
        "model_version": 1,
    }


def test_missing_counts_the_pool_as_it_is(api: Api) -> None:
    project_id = filled(api)
    rows = [{"id": "t", "vector": [0, 0], "split": "test"}, {"id": "late", "vector": [0, 0]}]
    predictions(api, project_id, said(range(6)))
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    api.http.delete(f"/v1/projects/{project_id}/examples/e0")
    api.http.delete(f"/v1/projects/{project_id}/examples/e9")
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": [{"id": "e1", "vector": [9, 9]}]})
    # e0 is gone with its prediction and e9 without one; e1 is another now; e6, e7, e8 and late never had any
    assert predictions(api, project_id, said([2])).json()["missing"] == 5


def test_a_version_spans_blocks_of_rows(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.actions.prediction_spools._BLOCK_ROWS", 4)
    monkeypatch.setattr("service.actions.prediction_uploads._ROWS_AT_ONCE", 5)
    monkeypatch.setattr("service.actions.prediction_spools._TILE_ROWS", 3)
    project_id = filled(api, 14)
    assert predictions(api, project_id, said([13, 2, 9, 6, 7])).json()["missing"] == 9
    answer = predictions(api, project_id, said([12, 2, 3, 4])).json()
    assert (answer["created"], answer["unchanged"], answer["missing"]) == (3, 1, 6)
    activate(api, project_id, 1)
    told = {n: last_said(api, project_id, f"e{n}") for n in range(14)}
    assert [n for n, one in told.items() if one] == [2, 3, 4, 6, 7, 9, 12, 13]
    assert all(one["probabilities"]["b"] == n / 200 for n, one in told.items() if one)


def test_a_wide_row_costs_no_more_than_its_block(api: Api) -> None:
    project_id = filled(api, 400)
    wide = [{"id": f"e{n}", "probabilities": [0.25, 0.75], "vector": [0.5] * 50_000} for n in (399, 7)]
    for rows, missing in ((wide[:1], 399), (wide, 398)):
        answer = predictions(api, project_id, rows).json()
        assert (answer["model_version"], answer["missing"]) == (1, missing)
    sizes = [len(api.runtime.objects.get(key)) for key in uploaded(api)]
    assert len(sizes) == 9  # of the first row, of it again, and of another block
    assert sum(sizes) < 2**24  # all rows as wide are 80 MB
    activate(api, project_id, 1)
    assert last_said(api, project_id, "e399")


def test_replaced_files_are_deleted(api: Api) -> None:
    project_id = filled(api)
    for _ in range(3):
        predictions(api, project_id, said(range(5)))
    assert len(uploaded(api)) == 6
    merge(api, project_id)
    assert len(uploaded(api)) == 2


def test_a_class_that_is_added_opens_another_version(api: Api) -> None:
    project_id = filled(api)
    predictions(api, project_id, said(range(5)))
    headers = {"If-Match": api.http.get(f"/v1/projects/{project_id}").headers["ETag"]}
    task = {"type": "classification", "classes": ["a", "b", "c"]}
    assert api.http.patch(f"/v1/projects/{project_id}", json={"task": task}, headers=headers).status_code == 200
    assert errors_of(predictions(api, project_id, said([1]))) == [("/probabilities", "wrong_classes")]
    answer = predictions(api, project_id, [{"id": "e0", "probabilities": [0.5, 0.25, 0.25]}]).json()
    assert (answer["model_version"], answer["missing"]) == (2, 9)


def test_the_same_key_replays_the_answer(api: Api) -> None:
    project_id = filled(api)
    path = f"/v1/projects/{project_id}/predictions?model=mine"
    answers = [
        api.http.post(path, json={"predictions": said(range(3))}, headers={"Idempotency-Key": "k"}) for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert answers[0].json()["created"] == 3


def test_good_rows_of_a_partial_body_are_stored(api: Api) -> None:
    project_id = filled(api)
    rows = [*said([0]), {"id": "none", "probabilities": [1, 0]}, {"id": "e1", "probabilities": [1]}, *said([2])]
    answer = predictions(api, project_id, rows, mode="partial").json()
    assert (answer["received"], answer["created"], answer["rejected"], answer["missing"]) == (4, 2, 2, 8)
    assert [(error["line"], error["code"]) for error in answer["errors"]] == [
        (2, "unknown_example"),
        (3, "wrong_classes"),
    ]
    assert len(api.http.get(answer["errors_url"]).text.splitlines()) == 2
    nothing = predictions(
        api, project_id, [{"id": "none", "probabilities": [1, 0]}], model="new", mode="partial"
    ).json()
    assert (nothing["model_version"], nothing["missing"], nothing["rejected"]) == (None, 10, 1)
    assert len(models(api, project_id)) == 1


def errors_of(answer: Any) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(error["pointer"], error["code"]) for error in answer.json()["errors"]]


def both(row: str) -> str:
    """A good row and then one that lacks something, or has something else."""
    return '{"id": "e0", "probabilities": [1, 0], "vector": [1, 2]}\n' + row


BAD: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("sum", {}, '{"id": "e0", "probabilities": [0.5, 0.4]}', "/probabilities", "wrong_sum"),
    ("sum of a member", {}, '{"id": "e0", "members": [[1, 0], [0, 0]]}', "/members/1", "wrong_sum"),
    ("negative", {}, '{"id": "e0", "probabilities": [-0.5, 1.5]}', "/probabilities/0", "out_of_range"),
    ("over 1", {}, '{"id": "e0", "probabilities": {"a": 1.5, "b": 0}}', "/probabilities/a", "out_of_range"),
    ("NaN", {}, '{"id": "e0", "probabilities": [NaN, 1]}', "", "not_finite"),
    ("infinite", {}, '{"id": "e0", "probabilities": [1e999, 1]}', "/probabilities/0", "not_finite"),
    ("too few classes", {}, '{"id": "e0", "probabilities": [1]}', "/probabilities", "wrong_classes"),
    ("a class is missing", {}, '{"id": "e0", "probabilities": {"a": 1}}', "/probabilities", "wrong_classes"),
    ("unknown class", {}, '{"id": "e0", "probabilities": {"a": 1, "z": 0}}', "/probabilities/z", "unknown_class"),
    ("unknown id", {}, '{"id": "none", "probabilities": [1, 0]}', "/id", "unknown_example"),
    ("id twice", {}, both('{"id": "e0", "probabilities": [1, 0], "vector": [1, 2]}'), "/id", "duplicate_id"),
    ("nothing said", {}, '{"id": "e0"}', "/probabilities", "missing_field"),
    ("unknown field", {}, '{"id": "e0", "probabilities": [1, 0], "mode": 1}', "/mode", "unknown_field"),
    ("one member", {}, '{"id": "e0", "members": [[1, 0]]}', "/members", "wrong_members"),
    (
        "members of another number",
        {},
        '{"id": "e0", "members": [[1, 0], [1, 0]]}\n{"id": "e1", "members": [[1, 0], [1, 0], [1, 0]]}',
        "/members",
        "wrong_members",
    ),
    (
        "members of some rows",
        {},
        '{"id": "e0", "members": [[1, 0], [1, 0]]}\n{"id": "e1", "probabilities": [1, 0]}',
        "/members",
        "missing_field",
    ),
    ("vectors of some rows", {}, both('{"id": "e1", "probabilities": [1, 0]}'), "/vector", "missing_field"),
    (
        "vector of another length",
        {},
        both('{"id": "e1", "probabilities": [1, 0], "vector": [1]}'),
        "/vector",
        "wrong_dimensions",
    ),
    ("empty vector", {}, '{"id": "e0", "probabilities": [1, 0], "vector": []}', "/vector", "wrong_dimensions"),
    ("NaN in base64", {}, f'{{"id": "e0", "probabilities": [1, 0], "vector": "{NAN}"}}', "/vector/1", "not_finite"),
    ("mean of classes", {}, '{"id": "e0", "mean": 1, "spread": 1}', "/mean", "wrong_task"),
    ("negative spread", NUMBERS, '{"id": "e0", "mean": 1, "spread": -1}', "/spread", "out_of_range"),
    ("no spread", NUMBERS, '{"id": "e0", "mean": 1}', "/spread", "missing_field"),
    ("mean over float32", NUMBERS, '{"id": "e0", "mean": 1e39, "spread": 1}', "/mean", "not_finite"),
    ("classes of numbers", NUMBERS, '{"id": "e0", "probabilities": [1, 0]}', "/probabilities", "wrong_task"),
    ("members of numbers", NUMBERS, '{"id": "e0", "members": [[1], [1]]}', "/members", "wrong_task"),
    ("several over 1", SEVERAL, '{"id": "e0", "probabilities": [1.5, 0]}', "/probabilities/0", "out_of_range"),
    ("one member of several", SEVERAL, '{"id": "e0", "members": [[1, 1]]}', "/members", "wrong_members"),
]


@pytest.mark.parametrize(("changes", "body", "pointer", "code"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_bad_row_is_told_and_nothing_is_stored(
    api: Api, changes: dict[str, Any], body: str, pointer: str, code: str
) -> None:
    project_id = filled(api, 2, **changes)
    path = f"/v1/projects/{project_id}/predictions?model=mine"
    answer = api.http.post(path, content=body.encode(), headers={"Content-Type": NDJSON})
    assert answer.json()["type"].endswith("/rows-rejected")
    assert errors_of(answer) == [(pointer, code)]
    assert models(api, project_id) == []
    assert uploaded(api) == []


@pytest.mark.parametrize(
    ("media", "body", "pointer", "code"),
    [
        (CSV, b'id,probabilities\ne0,"[0.5, NaN]"\n', "/probabilities", "not_finite"),
        (CSV, b'id,probabilities\ne0,"[1e999, 0]"\n', "/probabilities", "not_finite"),
        (CSV, b"id,probabilities\ne0,often\n", "/probabilities", "invalid_json"),
        (CSV, b"id,mean,spread\ne0,nan,1\n", "/mean", "not_finite"),
        (CSV, b"id,p_a,p_b\ne0,1,0\n", "/p_a", "unknown_field"),
        (ARROW, table_body({"id": ["e0"], "probabilities": [[0.5, float("nan")]]}), "/probabilities", "not_finite"),
        (ARROW, table_body({"id": ["e0"], "probabilities": [["1", "0"]]}), "/probabilities", "wrong_type"),
        (ARROW, table_body({"id": ["e0"], "members": [[1.0, 0.0]]}), "/members", "wrong_type"),
        (ARROW, table_body({"id": ["e0"], "score": [1.0]}), "/score", "unknown_field"),
        (
            PARQUET,
            table_body({"id": ["e0"], "probabilities": [[1.0, None]]}, PARQUET),
            "/probabilities/1",
            "wrong_type",
        ),
    ],
)
def test_what_is_wrong_in_tables_is_told(api: Api, media: str, body: bytes, pointer: str, code: str) -> None:
    project_id = filled(api, 2)
    path = f"/v1/projects/{project_id}/predictions?model=mine"
    assert errors_of(api.http.post(path, content=body, headers={"Content-Type": media})) == [(pointer, code)]
    assert models(api, project_id) == []


def test_a_later_upload_holds_what_the_version_holds(api: Api) -> None:
    project_id = filled(api)
    predictions(api, project_id, [{"id": "e0", "members": COMMITTEE}])
    assert errors_of(predictions(api, project_id, said([1]))) == [("/members", "missing_field")]
    vector = [{"id": "e1", "members": COMMITTEE, "vector": [1, 2]}]
    assert errors_of(predictions(api, project_id, vector)) == [("/vector", "wrong_dimensions")]


@pytest.mark.parametrize("name", ["", "x" * 300, "a%00b"])
def test_a_model_has_a_name(api: Api, name: str) -> None:
    answer = api.http.post(f"/v1/projects/{filled(api, 1)}/predictions?model={name}", json={"predictions": said([0])})
    assert answer.status_code == 422, answer.text


def test_of_two_uploads_at_once_neither_is_lost(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = filled(api)
    count = prediction_uploads.count_missing  # the moment between writing and publishing
    faster = [said([1]), said([2])]

    def overtaken(*args: Any) -> int:
        if faster:
            assert predictions(api, project_id, faster.pop()).status_code == 200
        return count(*args)

    monkeypatch.setattr(prediction_uploads, "count_missing", overtaken)
    answer = predictions(api, project_id, said([0, 1])).json()
    assert (answer["model_version"], answer["created"], answer["unchanged"], answer["missing"]) == (1, 1, 1, 7)
    activate(api, project_id, 1)
    assert [bool(last_said(api, project_id, f"e{n}")) for n in range(4)] == [True, True, True, False]
    assert len(uploaded(api)) == 6


def test_an_upload_that_is_overtaken_by_one_of_another_form_is_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = filled(api)
    count = prediction_uploads.count_missing  # the moment between writing and publishing
    faster = [[{"id": "e0", "members": COMMITTEE}]]

    def overtaken(*args: Any) -> int:
        if faster:
            assert predictions(api, project_id, faster.pop()).status_code == 200
        return count(*args)

    monkeypatch.setattr(prediction_uploads, "count_missing", overtaken)
    answer = predictions(api, project_id, [*said([0, 1]), *said([99])], mode="partial")
    assert (answer.status_code, answer.headers["Retry-After"]) == (409, "1")
    assert list(api.runtime.objects.list("errors/")) == []
    assert models(api, project_id)[0]["version"] == 1


def merge(api: Api, project_id: str) -> None:
    """Run the merge that waits, which deletes files that were replaced."""
    (job,) = api.http.get(f"/v1/projects/{project_id}/jobs?kind=merge&state=queued").json()["items"]
    with api.runtime.write() as session:
        jobs.mark_rung(session, [job["id"]], utc_now())
    run_job(api.runtime, job["id"])


def test_files_that_go_while_an_upload_reads_them_are_read_anew(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = filled(api)
    predictions(api, project_id, said([0]))
    write = prediction_spools.write  # the moment between reading the lists and reading their files
    faster = [said([1])]

    def overtaken(*args: Any) -> None:
        if faster:
            assert predictions(api, project_id, faster.pop()).status_code == 200
            merge(api, project_id)
        write(*args)

    monkeypatch.setattr(prediction_uploads, "write", overtaken)
    answer = predictions(api, project_id, said([2]))
    assert answer.status_code == 200, answer.text
    assert (answer.json()["created"], answer.json()["missing"]) == (1, 7)
    activate(api, project_id, 1)


def test_files_that_go_while_an_example_is_read_are_read_anew(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = filled(api)
    own_model(api, project_id, said(range(3)))
    chunk_of_row = arrays.chunk_of_row  # the moment between reading a list and reading its file
    deleted = ["e2"]

    def overtaken(*args: Any, **more: Any) -> Any:
        found = chunk_of_row(*args, **more)
        if deleted:
            assert api.http.delete(f"/v1/projects/{project_id}/examples/{deleted.pop()}").status_code == 204
            merge(api, project_id)
        return found

    monkeypatch.setattr(arrays, "chunk_of_row", overtaken)
    assert last_said(api, project_id, "e1") == {
        "label": "a",
        "probabilities": {"a": 0.995, "b": 0.005},
        "model_version": 1,
    }
    assert not deleted


def test_a_lost_file_is_told(api: Api) -> None:
    project_id = filled(api)
    predictions(api, project_id, said([0]))
    activate(api, project_id, 1)
    predictions(api, project_id, said([0]))
    for key in uploaded(api):
        api.runtime.objects.delete(key)
    for answer in (predictions(api, project_id, said([1])), api.http.get(f"/v1/projects/{project_id}/examples/e0")):
        assert answer.status_code == 500
        assert answer.json()["type"].endswith("/problems/damaged-object"), answer.text


def test_nobody_waits_for_the_list_of_bad_rows_to_be_written(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = filled(api)
    objects = type(api.runtime.objects)
    put, written = objects.put, []

    def watched(self: ObjectStore, key: str, source: Path) -> None:
        if key.startswith("errors/"):
            with api.runtime.write() as session:  # waits for whoever holds the pool
                projects.lock_pool(session, project_id)
            written.append(key)
        put(self, key, source)

    monkeypatch.setattr(objects, "put", watched)
    answer = predictions(api, project_id, said([0, 99]), mode="partial")
    assert (answer.status_code, answer.json()["rejected"]) == (200, 1)
    rows = [{"id": "new", "vector": [1, 2]}, {"id": "bad", "vector": [1]}]
    answer = api.http.post(f"/v1/projects/{project_id}/examples?mode=partial", json={"examples": rows})
    assert (answer.status_code, answer.json()["rejected"]) == (200, 1)
    assert sorted(api.runtime.objects.list("errors/")) == sorted(written)
    assert len(written) == 2
