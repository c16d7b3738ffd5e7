"""Tables: the schema of a project, and rows that do not fit it."""

from typing import Any

import pyarrow as pa
import pytest

from service.db.queries import examples as example_queries
from tests.codecs.bodies import ARROW, PARQUET
from tests.codecs.tables import table_body
from tests.support.bodies import counts, upload
from tests.support.runtime import Api

FIELDS = [
    {"name": "age", "type": "number"},
    {"name": "plan", "type": "category"},
    {"name": "since", "type": "date"},
    {"name": "note", "type": "text"},
]
GOOD = {"age": 41, "plan": "gold", "since": "2024-02-29", "note": "calls often"}
CSV = {"Content-Type": "text/csv"}


def tabular(api: Api, **params: Any) -> str:
    return api.project(features={"type": "tabular", "fields": FIELDS, "params": params})


def test_the_schema_is_told_with_its_parameters(api: Api) -> None:
    features = api.http.get(f"/v1/projects/{tabular(api)}").json()["features"]
    assert features == {
        "type": "tabular",
        "fields": FIELDS,
        "params": {"min_frequency": 2, "max_categories": 50, "latent": 64, "other_fields": "show"},
    }


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("features", "pointer", "code"),
    [
        ({}, "/features/fields", "missing_field"),
        ({"fields": []}, "/features/fields", "too_short"),
        ({"fields": FIELDS, "dimensions": 2}, "/features/dimensions", "unknown_field"),
        ({"fields": FIELDS, "field": "note"}, "/features/field", "unknown_field"),
        ({"fields": [{"name": "a"}]}, "/features/fields/0/type", "missing_field"),
        ({"fields": [{"type": "number"}]}, "/features/fields/0/name", "missing_field"),
        ({"fields": [{"name": "a", "type": "image"}]}, "/features/fields/0/type", "literal_error"),
        ({"fields": [{"name": "a", "type": "number", "unit": "m"}]}, "/features/fields/0/unit", "unknown_field"),
        ({"fields": [FIELDS[0], FIELDS[1], FIELDS[0]]}, "/features/fields/2/name", "duplicate_field"),
        ({"fields": [{"name": f"t{n}", "type": "text"} for n in range(21)]}, "/features/fields/20/type", "too_many"),
        ({"fields": FIELDS, "params": {"max_categories": 0}}, "/features/params/max_categories", "out_of_range"),
        ({"fields": FIELDS, "featurizer": "text"}, "/features/featurizer", "unknown_name"),
    ],
)
def test_a_schema_that_is_wrong(api: Api, features: dict[str, Any], pointer: str, code: str) -> None:
    body = {
        "name": "t",
        "task": {"type": "classification", "classes": ["a", "b"]},
        "features": {"type": "tabular", **features},
    }
    answer = api.http.post("/v1/projects", json=body)
    assert answer.status_code == 422, answer.text
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [(pointer, code)]


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("data", "pointer", "code"),
    [
        ({**GOOD, "age": "41"}, "/data/age", "wrong_type"),
        ({**GOOD, "age": True}, "/data/age", "wrong_type"),
        ({**GOOD, "age": [41]}, "/data/age", "wrong_type"),
        ({**GOOD, "age": 1e300}, "/data/age", "not_finite"),
        ({**GOOD, "plan": {"name": "gold"}}, "/data/plan", "wrong_type"),
        ({**GOOD, "plan": ["gold"]}, "/data/plan", "wrong_type"),
        ({**GOOD, "note": 5}, "/data/note", "wrong_type"),
        ({**GOOD, "since": 20240229}, "/data/since", "wrong_type"),
        *(
            ({**GOOD, "since": bad}, "/data/since", "invalid_date")
            for bad in ("", "yesterday", "2023-02-29", "29.02.2024", "20240229", "2024-W09-4", "2024-02-29T25:00:00Z",
                        "0001-01-01T00:00:00+02:00", "2024-02-29T10:00:00+99:00", "\uff12024-02-29")
        ),
        ({}, "/data", "missing_field"),
        ({"age": None, "note": None}, "/data", "missing_field"),
        ({"agee": 41}, "/data", "missing_field"),
    ],
)  # fmt: skip
def test_a_row_that_does_not_fit(api: Api, data: dict[str, Any], pointer: str, code: str) -> None:
    project_id = tabular(api)
    rows = [{"id": "good", "data": GOOD}, {"id": "bad", "data": data}]
    answer = upload(api, project_id, rows)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert [(e["line"], e["id"], e["pointer"], e["code"]) for e in problem["errors"]] == [(2, "bad", pointer, code)]
    assert counts(api, project_id)["examples"]["total"] == 0
    partial = upload(api, project_id, rows, mode="partial").json()
    assert (partial["created"], partial["rejected"]) == (1, 1)


def test_a_row_without_data_and_one_with_a_vector(api: Api) -> None:
    project_id = tabular(api)
    bare = upload(api, project_id, [{"id": "e"}]).json()["errors"]
    assert [(e["pointer"], e["code"]) for e in bare] == [("/data", "missing_field")]
    stray = upload(api, project_id, [{"id": "e", "data": GOOD, "vector": [1.0]}]).json()["errors"]
    assert [(e["pointer"], e["code"]) for e in stray] == [("/vector", "unknown_field")]


@pytest.mark.any_database
def test_infinite_numbers(api: Api) -> None:
    path = f"/v1/projects/{tabular(api)}/examples"
    for text in ("1e999", "NaN", "Infinity"):
        body = f'{{"id": "e", "data": {{"age": {text}}}}}'
        answer = api.http.post(path, content=body, headers={"Content-Type": "application/x-ndjson"})
        assert [error["code"] for error in answer.json()["errors"]] == ["not_finite"], text


def test_gaps_and_every_form_of_a_category_or_date_fit(api: Api) -> None:
    rows = [
        {"plan": True}, {"plan": 7}, {"plan": 7.5}, {"plan": ""}, {"age": -3, "plan": None}, {"note": ""},
        {"since": "2024-02-29T23:59:59.123456789-11:30"}, {"since": "2024-02-29 10:00"}, {"since": "9999-12-31t00:00z"},
    ]  # fmt: skip
    answer = upload(api, tabular(api), [{"id": f"e{n}", "data": data} for n, data in enumerate(rows)])
    assert (answer.status_code, answer.json()["created"]) == (200, len(rows)), answer.text


def test_other_fields_are_shown_or_refused(api: Api) -> None:
    rows = [{"id": "e", "data": {**GOOD, "photo": {"url": "p.png"}}}]
    shown = tabular(api)
    assert upload(api, shown, rows).status_code == 200
    assert api.http.get(f"/v1/projects/{shown}/examples/e").json()["data"]["photo"] == {"url": "p.png"}
    refused = upload(api, tabular(api, other_fields="refuse"), rows)
    assert [(e["pointer"], e["code"]) for e in refused.json()["errors"]] == [("/data/photo", "unknown_field")]


def test_csv_is_read_as_the_schema_says(api: Api) -> None:
    project_id = tabular(api)
    body = (
        "id,age,plan,since,note,seen\ne0,41,007,2024-02-29,12,1\ne1,,,,late,2\ne2,-1.5e3,true,2024-03-01T10:00:00Z,,3\n"
    )
    answer = api.http.post(f"/v1/projects/{project_id}/examples", content=body, headers=CSV)
    assert answer.status_code == 200, answer.text
    types = {"age": "number", "plan": "text", "since": "text", "note": "text", "seen": "integer"}
    assert answer.json()["columns"] == types
    first = api.http.get(f"/v1/projects/{project_id}/examples/e0").json()["data"]
    assert first == {"age": 41.0, "plan": "007", "since": "2024-02-29", "note": "12", "seen": 1}


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("cell", "code"), [("forty", "wrong_type"), ("nan", "not_finite"), ("1_0", "wrong_type"), ("1e39", "not_finite")]
)
def test_one_bad_cell_of_csv_is_the_error_of_its_row(api: Api, cell: str, code: str) -> None:
    project_id = tabular(api)
    body = f"id,age\ne0,41\ne1,{cell}\ne2,43\n"
    answer = api.http.post(f"/v1/projects/{project_id}/examples?mode=partial", content=body, headers=CSV)
    assert answer.json()["created"] == 2, answer.text
    assert [(e["id"], e["pointer"], e["code"]) for e in answer.json()["errors"]] == [("e1", "/data/age", code)]


@pytest.mark.parametrize("media", [ARROW, PARQUET])
def test_columns_of_tables(api: Api, media: str) -> None:
    project_id = tabular(api)
    table = pa.table(
        {
            "id": ["e0", "e1"],
            "age": pa.array([41, None], pa.int16()),
            "plan": pa.array(["gold", "basic"]).dictionary_encode(),
            "since": pa.array([1709200000000, 0], pa.timestamp("ms", "Europe/Berlin")),
            "note": ["calls", None],
        }
    )
    answer = api.http.post(
        f"/v1/projects/{project_id}/examples", content=table_body(table, media), headers={"Content-Type": media}
    )
    assert answer.status_code == 200, answer.text
    assert api.http.get(f"/v1/projects/{project_id}/examples/e1").json()["data"] == {
        "plan": "basic",
        "since": "1970-01-01T00:00:00.000Z",
    }


def test_only_what_models_see_makes_an_example_another_row(api: Api) -> None:
    project_id = tabular(api)
    upload(api, project_id, [{"id": "e", "data": {**GOOD, "shown": 1}}])

    def row() -> int:
        with api.runtime.database.read() as session:
            found = example_queries.get(session, project_id, "e")
            assert found is not None
            return found.row

    assert row() == 0
    assert upload(api, project_id, [{"id": "e", "data": {**GOOD, "shown": 2}}]).json()["updated"] == 1
    assert row() == 0
    assert upload(api, project_id, [{"id": "e", "data": {**GOOD, "age": 42}}]).json()["updated"] == 1
    assert row() == 1
