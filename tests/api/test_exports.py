import csv
import io
import json
from datetime import datetime
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.codecs.bodies import CSV, PARQUET
from tests.support.bodies import label, points, upload
from tests.support.runtime import Api

NDJSON = "application/x-ndjson"
COUNT = 2345  # three slices


@pytest.fixture
def project_id(api: Api) -> str:
    """A project of many examples, some of which have labels."""
    made = api.project()
    rows = points(COUNT)
    rows[0]["data"] = {"text": 'é, "x"\n', "n": [1, None]}
    rows[1] |= {"group": "g", "priority": 0.5, "split": "test"}
    upload(api, made, rows)
    label(api, made, *({"example_id": f"e{i}", "label": "a", "annotator": "=ann"} for i in range(1500)))
    label(api, made, {"example_id": "e2000", "skip": True})
    return made


def read(api: Api, path: str, form: str) -> list[dict[str, Any]]:
    answer = api.http.get(path, headers={"Accept": f"image/png, {form};q=0.5, */*"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].partition(";")[0] == form
    if form == CSV:
        return list(csv.DictReader(io.StringIO(answer.text, newline="")))
    if form == PARQUET:
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(answer.content)).to_pylist()
        return rows
    return [json.loads(line) for line in answer.text.splitlines()]


def pages(api: Api, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    token: str | None = ""
    while token is not None:
        page = api.http.get(path, params={"page_size": 1000, **({"page_token": token} if token else {})}).json()
        items += page["items"]
        token = page["next_page_token"]
    return items


@pytest.mark.parametrize("noun", ["examples", "labels"])
def test_every_form_holds_what_the_pages_hold(api: Api, project_id: str, noun: str) -> None:
    path = f"/v1/projects/{project_id}/{noun}"
    items = pages(api, path)
    assert len(items) == {"examples": COUNT, "labels": 1501}[noun]
    assert read(api, path, NDJSON) == items
    for form in (CSV, PARQUET):
        rows = read(api, path, form)
        assert [list(row) for row in rows[:1]] == [list(items[0])]
        assert [row["id"] for row in rows] == [item["id"] for item in items]


def test_columns_have_types(api: Api, project_id: str) -> None:
    first, second, *_ = read(api, f"/v1/projects/{project_id}/examples", PARQUET)
    assert json.loads(first["data"]) == {"text": 'é, "x"\n', "n": [1, None]}
    assert [item["label"] for item in json.loads(first["labels"])] == ["a"]
    assert (second["data"], second["group"], second["priority"], second["split"]) == (None, "g", 0.5, "test")
    assert isinstance(first["created_at"], datetime)
    labels = read(api, f"/v1/projects/{project_id}/labels", PARQUET)
    assert {(row["skip"], row["label"], row["annotator"]) for row in labels} == {
        (False, "a", "=ann"),
        (True, None, None),
    }
    cells = read(api, f"/v1/projects/{project_id}/examples", CSV)
    assert json.loads(cells[0]["data"]) == {"text": 'é, "x"\n', "n": [1, None]}


def test_a_status_is_exported_alone(api: Api, project_id: str) -> None:
    path = f"/v1/projects/{project_id}/examples"
    assert [row["id"] for row in read(api, f"{path}?status=skipped", NDJSON)] == ["e2000"]
    assert len(read(api, f"{path}?status=labeled", PARQUET)) == 1500


def test_an_empty_export_has_its_columns(api: Api) -> None:
    path = f"/v1/projects/{api.project()}/examples"
    answer = api.http.get(path, headers={"Accept": PARQUET})
    assert pq.read_table(io.BytesIO(answer.content)).column_names[:3] == ["id", "data", "split"]
    assert read(api, path, NDJSON) == []


@pytest.mark.parametrize("noun", ["examples", "labels"])
def test_what_cannot_be_exported(api: Api, noun: str, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = api.http.get(f"/v1/projects/prj_none/{noun}", headers={"Accept": NDJSON})
    assert missing.status_code == 404
    path = f"/v1/projects/{api.project()}/{noun}"
    assert api.http.get(path, headers={"Accept": "image/png"}).status_code == 406
    monkeypatch.setattr("service.api.deps.exports.find_spec", lambda _: None)
    refused = api.http.get(path, headers={"Accept": PARQUET})
    assert refused.status_code == 406
    assert "`arrow`" in refused.json()["detail"]
