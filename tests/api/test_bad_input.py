"""Bad input of uploads and labels: each kind is a problem, and nothing of the project changes."""

import base64
import gzip
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from service.api.deps.runtime import Runtime
from tests.codecs.bodies import ARROW, PARQUET
from tests.support.bodies import counts, examples, label, upload
from tests.support.runtime import Api, make_api, make_runtime

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
SHORT = base64.b64encode(struct.pack("<f", 1.0)).decode()
NAN = base64.b64encode(struct.pack("<2f", 1.0, float("nan"))).decode()


@dataclass(frozen=True)
class Case:
    """A bad request and its problem; `code` is that of the first of its errors."""

    name: str
    status: int
    kind: str
    body: bytes | str = b""
    code: str | None = None
    media: str | None = NDJSON
    to: str = "examples"
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def row(name: str, body: str, code: str, *, to: str = "examples") -> Case:
    """A body of one bad row."""
    return Case(name, 422, "rows-rejected", body, code, to=to)


GOOD = '{"id": "n", "vector": [1, 2]}'
LABEL = '{"example_id": "old", "label": "b"}'
BOMB = gzip.compress(b" " * 3_000_000)

CASES = [
    # who asks, and how
    Case("no key", 401, "unauthenticated", GOOD, headers={"Authorization": ""}),
    Case("unknown key", 401, "unauthenticated", GOOD, headers={"Authorization": "Bearer gln_" + "a" * 43}),
    Case("other scheme", 401, "unauthenticated", GOOD, headers={"Authorization": "Basic Zm9vOmJhcg=="}),
    Case("unknown project", 404, "not-found", GOOD, to="/v1/projects/prj_none/examples"),
    Case("unknown project for labels", 404, "not-found", LABEL, to="/v1/projects/prj_none/labels"),
    Case("unknown example", 404, "not-found", method="GET", to="examples/none"),
    Case("unknown example to delete", 404, "not-found", method="DELETE", to="examples/none"),
    Case("unknown label", 404, "not-found", method="DELETE", to="labels/lbl_none"),
    Case("unknown errors list", 404, "not-found", method="GET", to="error-lists/err_none"),
    Case("wrong method", 405, "method-not-allowed", GOOD, method="PUT"),
    Case("wrong method for a label", 405, "method-not-allowed", GOOD, method="PATCH", to="labels/lbl_x"),
    Case("unknown status", 422, "invalid-request", method="GET", to="examples?status=done", code="literal_error"),
    Case("page size of none", 422, "invalid-request", method="GET", to="examples?page_size=0"),
    Case("page size over the limit", 422, "invalid-request", method="GET", to="labels?page_size=1001"),
    Case("page token tampered", 400, "malformed-request", method="GET", to="examples?page_token=abc"),
    Case("page token of another list", 400, "malformed-request", method="GET", to="labels?page_token=WyIwIix7fV0="),
    Case("not acceptable", 406, "not-acceptable", method="GET", to="labels", headers={"Accept": "image/png"}),
    Case("unknown mode", 422, "invalid-request", GOOD, to="examples?mode=some", code="literal_error"),
    Case("bad idempotency key", 422, "invalid-request", GOOD, headers={"Idempotency-Key": "with space"}),
    Case("idempotency key too long", 422, "invalid-request", GOOD, headers={"Idempotency-Key": "k" * 256}),
    # what the body is
    Case("no content type", 415, "unsupported-media-type", GOOD, media=None),
    Case("wrong content type", 415, "unsupported-media-type", GOOD, media="text/plain"),
    Case("labels as arrow", 415, "unsupported-media-type", LABEL, to="labels", media=ARROW),
    Case("labels as parquet", 415, "unsupported-media-type", LABEL, to="labels", media=PARQUET),
    Case("not arrow", 400, "malformed-request", GOOD, media=ARROW),
    Case("not parquet", 400, "malformed-request", GOOD, media=PARQUET),
    Case("empty arrow", 422, "invalid-request", media=ARROW),
    Case("other charset", 415, "unsupported-media-type", GOOD, media="text/csv; charset=utf-16"),
    Case("brotli", 415, "unsupported-media-type", GOOD, headers={"Content-Encoding": "br"}),
    Case("empty body", 422, "invalid-request"),
    Case("only blank lines", 422, "invalid-request", "\n\n \n"),
    Case("no rows in the document", 422, "invalid-request", '{"examples": []}', media=JSON),
    Case("not gzip", 400, "malformed-request", GOOD, headers={"Content-Encoding": "gzip"}),
    Case("gzip cut off", 400, "malformed-request", gzip.compress(GOOD.encode())[:-9],
         headers={"Content-Encoding": "gzip"}),
    Case("gzip bomb", 413, "payload-too-large", BOMB, headers={"Content-Encoding": "gzip"}),
    Case("not zstd", 400, "malformed-request", GOOD, headers={"Content-Encoding": "zstd"}),
    Case("zstd cut off", 400, "malformed-request", zstd.compress(GOOD.encode())[:-3],
         headers={"Content-Encoding": "zstd"}),
    Case("zstd bomb", 413, "payload-too-large", zstd.compress(b" " * 3_000_000), headers={"Content-Encoding": "zstd"}),
    Case("body over the limit", 413, "payload-too-large", b"x" * 200_001),
    Case("long row in a document", 413, "payload-too-large", '{"examples": [{"id": "' + "x" * 30_000 + '"}]}',
         media=JSON),
    Case("broken JSON", 400, "malformed-request", '{"examples": [', media=JSON),
    Case("JSON with a tail", 400, "malformed-request", '{"examples": [' + GOOD + "]} x", media=JSON),
    Case("JSON of another shape", 422, "invalid-request", "[" + GOOD + "]", "wrong_type", media=JSON),
    Case("JSON with another field", 422, "invalid-request", '{"rows": []}', "unknown_field", media=JSON),
    Case("labels as examples", 422, "invalid-request", '{"labels": [' + LABEL + "]}", "unknown_field", media=JSON),
    Case("not UTF-8", 400, "malformed-request", b'{"id": "\xff\xfe"}'),
    Case("CSV not UTF-8", 400, "malformed-request", b"id,vector\n\xff,x\n", media=CSV),
    Case("CSV without id", 422, "invalid-request", "name,x0,x1\na,1,2\n", "missing_field", media=CSV),
    Case("CSV column twice", 422, "invalid-request", "id,x0,x1,id\na,1,2,b\n", "duplicate_column", media=CSV),
    Case("CSV with a gap in x", 422, "invalid-request", "id,x0,x2\na,1,2\n", "missing_field", media=CSV),
    Case("CSV row too short", 422, "rows-rejected", "id,x0,x1\na,1\n", "wrong_columns", media=CSV),
    Case("CSV quote left open", 413, "payload-too-large", 'id,x0,x1\n"' + "a\n" * 15_000, media=CSV),
    Case("CSV nan", 422, "rows-rejected", "id,x0,x1\na,1,nan\n", "not_finite", media=CSV),
    # rows
    row("broken line", '{"id": "n", ', "invalid_json"),
    row("line too long", '{"id": "n", "data": {"t": "' + "x" * 30_000 + '"}}', "too_long"),
    row("row is no object", "[1, 2]", "wrong_type"),
    row("NaN", '{"id": "n", "vector": [NaN, 1]}', "not_finite"),
    row("Infinity", '{"id": "n", "vector": [Infinity, 1]}', "not_finite"),
    row("1e999", '{"id": "n", "vector": [1e999, 1]}', "not_finite"),
    row("over float32", '{"id": "n", "vector": [1e39, 1]}', "not_finite"),
    row("NaN in base64", f'{{"id": "n", "vector": "{NAN}"}}', "not_finite"),
    row("too many numbers", '{"id": "n", "vector": [1, 2, 3]}', "wrong_dimensions"),
    row("base64 of the wrong length", f'{{"id": "n", "vector": "{SHORT}"}}', "wrong_dimensions"),
    row("not base64", '{"id": "n", "vector": "!!!"}', "invalid_base64"),
    row("no vector", '{"id": "n"}', "missing_field"),
    row("vector of texts", '{"id": "n", "vector": ["1", "2"]}', "wrong_type"),
    row("vector of booleans", '{"id": "n", "vector": [true, false]}', "wrong_type"),
    row("no id", '{"vector": [1, 2]}', "missing_field"),
    row("empty id", '{"id": "", "vector": [1, 2]}', "invalid_id"),
    row("id of 10 kB", '{"id": "' + "x" * 10_000 + '", "vector": [1, 2]}', "too_long"),
    row("id is a number", '{"id": 7, "vector": [1, 2]}', "wrong_type"),
    row("NUL in the id", '{"id": "a\\u0000b", "vector": [1, 2]}', "invalid_id"),
    row("NUL in the data", '{"id": "n", "vector": [1, 2], "data": {"t": "a\\u0000"}}', "invalid_text"),
    row("lone surrogate", '{"id": "n", "vector": [1, 2], "data": {"t": "\\ud800"}}', "invalid_text"),
    row("number over 64 bits", '{"id": "n", "vector": [1, 2], "data": {"n": 99999999999999999999}}', "out_of_range"),
    row("nested too deeply", '{"id": "n", "vector": [1, 2], "data": {"t": ' + "[" * 70 + "]" * 70 + "}}", "too_deep"),
    row("data is a list", '{"id": "n", "vector": [1, 2], "data": []}', "wrong_type"),
    row("unknown field", '{"id": "n", "vector": [1, 2], "colour": 1}', "unknown_field"),
    row("unknown split", '{"id": "n", "vector": [1, 2], "split": "train"}', "invalid_value"),
    row("unknown class in a row", '{"id": "n", "vector": [1, 2], "label": "z"}', "unknown_class"),
    row("duplicate id", GOOD + "\n" + GOOD, "duplicate_id"),
    row("one bad row among good ones", GOOD + '\n{"id": "m", "vector": [1]}', "wrong_dimensions"),
    # labels
    row("unknown class", '{"example_id": "old", "label": "z"}', "unknown_class", to="labels"),
    row("number as class", '{"example_id": "old", "label": 1}', "wrong_type", to="labels"),
    row("list as class", '{"example_id": "old", "label": ["a"]}', "wrong_type", to="labels"),
    row("null as class", '{"example_id": "old", "label": null}', "wrong_type", to="labels"),
    row("no label", '{"example_id": "old"}', "missing_field", to="labels"),
    row("label and skip", '{"example_id": "old", "label": "b", "skip": true}', "invalid_value", to="labels"),
    row("skip as a text", '{"example_id": "old", "skip": "true"}', "wrong_type", to="labels"),
    row("label of an unknown example", '{"example_id": "none", "label": "a"}', "unknown_example", to="labels"),
    row("label twice", LABEL + "\n" + LABEL, "duplicate", to="labels"),
    row("unknown batch", '{"example_id": "old", "label": "b", "batch_id": "job_x"}', "unknown_batch", to="labels"),
    row("unknown source", '{"example_id": "old", "label": "b", "source": "cat"}', "invalid_value", to="labels"),
    row("time without a zone", '{"example_id": "old", "label": "b", "labeled_at": "2026-01-01T00:00:00"}',
        "invalid_time", to="labels"),
    row("no time", '{"example_id": "old", "label": "b", "labeled_at": "yesterday"}', "invalid_time", to="labels"),
    row("empty annotator", '{"example_id": "old", "label": "b", "annotator": ""}', "invalid_text", to="labels"),
    row("unknown field of a label", '{"example_id": "old", "label": "b", "sure": 1}', "unknown_field", to="labels"),
]  # fmt: skip


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder: Path = tmp_path_factory.mktemp("bad-input")
    runtime = make_runtime(folder, max_bulk_bytes=200_000, max_decoded_bytes=1_000_000, max_line_bytes=20_000)
    yield runtime
    runtime.database.close()


@pytest.fixture(scope="module")
def api(limited: Runtime) -> Iterator[Api]:
    made = make_api(limited)
    with made.http:
        yield made


@pytest.fixture(scope="module")
def project_id(api: Api) -> str:
    made = api.project()
    upload(api, made, [{"id": "old", "vector": [0.0, 0.0], "data": {"n": 1}}])
    label(api, made, {"example_id": "old", "label": "a"})
    return made


def state(api: Api, project_id: str) -> Any:
    labels = api.http.get(f"/v1/projects/{project_id}/labels").json()
    return counts(api, project_id), examples(api, project_id), labels


def check_problem(answer: Any, status: int, kind: str) -> dict[str, Any]:
    """The answer is this problem, in the form that all problems have."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["type"].endswith(f"/problems/{kind}")
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    for error in problem.get("errors", []):
        assert error.keys() >= {"pointer", "code", "detail"}
    return problem


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_bad_input_is_a_problem_and_stores_nothing(api: Api, project_id: str, case: Case) -> None:
    before = state(api, project_id)
    path = case.to if case.to.startswith("/") else f"/v1/projects/{project_id}/{case.to}"
    headers = {**({"Content-Type": case.media} if case.media else {}), **case.headers}
    answer = api.http.request(case.method, path, content=case.body, headers=headers)
    problem = check_problem(answer, case.status, case.kind)
    if case.code is not None:
        assert problem["errors"][0]["code"] == case.code
    if case.kind == "rows-rejected":
        assert problem["rejected"] == 1
        assert problem["errors"][0]["line"] == problem["received"] + (case.media == CSV)
        assert len(api.http.get(problem["errors_url"]).text.splitlines()) == 1
    assert "x" * 300 not in answer.text
    assert state(api, project_id) == before


@pytest.mark.parametrize("scope", ["read", "label:write", "query:run", "project:write"])
def test_uploads_need_their_scope(api: Api, project_id: str, scope: str) -> None:
    before = state(api, project_id)
    headers = {**api.key(scope), "Content-Type": NDJSON}
    answer = api.http.post(f"/v1/projects/{project_id}/examples", content=GOOD, headers=headers)
    check_problem(answer, 403, "forbidden")
    answer = api.http.delete(f"/v1/projects/{project_id}/examples/old", headers=headers)
    check_problem(answer, 403, "forbidden")
    assert state(api, project_id) == before


def test_labels_need_their_scope(api: Api, project_id: str) -> None:
    headers = {**api.key("pool:write", "read"), "Content-Type": NDJSON}
    answer = api.http.post(f"/v1/projects/{project_id}/labels", content=LABEL, headers=headers)
    check_problem(answer, 403, "forbidden")


def test_a_body_that_does_not_tell_its_length_is_stopped(api: Api, project_id: str) -> None:
    before = state(api, project_id)
    body = (b'{"id": "n%d", "vector": [1, 2]}\n' % i for i in range(10_000))
    answer = api.http.post(f"/v1/projects/{project_id}/examples", content=body, headers={"Content-Type": NDJSON})
    check_problem(answer, 413, "payload-too-large")
    assert state(api, project_id) == before


def test_a_key_with_another_body_is_refused(api: Api, project_id: str) -> None:
    path = f"/v1/projects/{project_id}/labels"
    headers = {"Content-Type": NDJSON, "Idempotency-Key": "used"}
    assert api.http.post(path, content='{"example_id": "old", "label": "a"}', headers=headers).status_code == 200
    before = state(api, project_id)
    check_problem(api.http.post(path, content=LABEL, headers=headers), 422, "idempotency-mismatch")
    answer = api.http.post(f"{path}?mode=partial", content='{"example_id": "old", "label": "a"}', headers=headers)
    check_problem(answer, 422, "idempotency-mismatch")
    assert state(api, project_id) == before


def test_a_refused_body_frees_its_key(api: Api, project_id: str) -> None:
    path = f"/v1/projects/{project_id}/labels"
    headers = {"Content-Type": NDJSON, "Idempotency-Key": "refused"}
    bad = '{"example_id": "old", "label": "z"}'
    check_problem(api.http.post(path, content=bad, headers=headers), 422, "rows-rejected")
    assert api.http.post(path, content='{"example_id": "old", "label": "a"}', headers=headers).status_code == 200


def test_five_point_nought_is_a_whole_number(api: Api) -> None:
    """JSON has one kind of number."""
    project_id = api.project(retraining={"first_at": 5.0}, seed=7.0)
    made = api.http.get(f"/v1/projects/{project_id}").json()
    assert (made["retraining"]["first_at"], made["seed"]) == (5, 7)
    path = f"/v1/projects/{project_id}/queries"
    assert api.http.post(path, json={"k": 5.0}).status_code == 202
    assert api.http.post(path, json={"k": 5.5}).status_code == 422
