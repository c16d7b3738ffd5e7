"""Examples whose annotators disagree, as queries."""

from typing import Any

import pytest

from service.catalog.strategies import STRATEGIES
from tests.support.pools import add_examples, batch, vector_of
from tests.support.runtime import Api
from workers.jobs.review import REVIEWS

# By example: who said what. e2 is split most evenly, e1 less, nobody disagrees about e3, and e4 has one answer.
ANSWERS = {
    "e0": {"anna": "b", "ben": "b", "carl": "b"},
    "e1": {"anna": "a", "ben": "a", "carl": "b"},
    "e2": {"anna": "a", "ben": "b"},
    "e3": {"anna": "b", "carl": "b"},
    "e4": {"carl": "a"},
}


@pytest.fixture
def project_id(api: Api) -> str:
    """Three annotators for each example, in a project that has no model."""
    made = api.project(annotation={"overlap": 3}, retraining={"automatic": False})
    add_examples(api, made, 8)
    rows = [
        {"example_id": example, "label": label, "annotator": name}
        for example, said in ANSWERS.items()
        for name, label in said.items()
    ]
    assert api.http.post(f"/v1/projects/{made}/labels", json={"labels": rows}).status_code == 200
    return made


def test_every_strategy_that_picks_labelled_examples_has_its_review() -> None:
    assert {name for name, entry in STRATEGIES.items() if entry.picks == "labelled"} == set(REVIEWS)


def ids(found: dict[str, Any]) -> list[str]:
    return [item["example_id"] for item in found["items"]]


def test_the_most_disputed_come_first_without_a_model(api: Api, project_id: str) -> None:
    found = batch(api, project_id, k=10, strategy="disputed", annotator="dora")
    assert ids(found)[:2] == ["e2", "e1"]
    assert set(ids(found)[2:]) == {"e0", "e3"}
    assert found["strategy"] == {
        "name": "disputed",
        "params": {},
        "seed": 0,
        "fallback_from": None,
        "fallback_reason": None,
    }
    assert (found["model"], found["exhausted"], found["pool"]["candidates"]) == (None, True, 4)
    values = [item["reason"]["value"] for item in found["items"]]
    assert values == pytest.approx([0.6931472, 0.6365142, 0, 0])
    first, second = found["items"][:2]
    assert (first["current_label"], second["current_label"]) == ("b", "a")
    assert {first["suggested_label"], second["suggested_label"]} <= {"a", "b"}
    assert first["prediction"] is None


def test_an_example_is_leased_to_one_reviewer_who_may_have_answered_before(api: Api, project_id: str) -> None:
    mine = batch(api, project_id, k=1, strategy="disputed", annotator="anna")
    assert ids(mine) == ["e2"]
    assert ids(batch(api, project_id, k=1, strategy="disputed", annotator="anna")) == ["e2"]
    others = batch(api, project_id, k=10, strategy="disputed", annotator="dora")
    assert set(ids(others)) == {"e0", "e1", "e3"}
    answer = {"example_id": "e2", "label": "b", "annotator": "anna"}
    assert api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": [answer]}).status_code == 200
    again = batch(api, project_id, k=10, strategy="disputed", annotator="emil")
    assert ids(again) == ["e2"]
    assert again["items"][0]["reason"]["value"] == 0


def test_test_rows_are_not_reviewed_and_filters_compose(api: Api, project_id: str) -> None:
    rows = [
        {"id": f"{split} {lang}", "vector": vector_of(1), "split": split, "data": {"lang": lang}}
        for split in ("pool", "test")
        for lang in ("de", "en")
    ]
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    labels = [{"example_id": row["id"], "label": label, "annotator": label} for row in rows for label in ("a", "b")]
    api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": labels})
    found = batch(api, project_id, k=10, strategy="disputed", filter={"lang": "de"})
    assert ids(found) == ["pool de"]


def test_nothing_in_dispute_is_an_empty_batch(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 5)
    found = batch(api, project_id, k=3, strategy="disputed")
    assert (found["items"], found["exhausted"], found["strategy"]["name"]) == ([], True, "disputed")


def test_it_cannot_narrow_the_candidates_of_another(api: Api, project_id: str) -> None:
    query = {"k": 1, "candidates": {"strategy": "disputed", "count": 5}}
    answer = api.http.post(f"/v1/projects/{project_id}/queries", json=query)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "not_a_scorer"
