"""Batches from uploaded predictions, through the same strategies as from a model that was trained here."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from service.catalog.strategies import STRATEGIES
from tests.support.bodies import counts
from tests.support.own_models import own_model, predictions, said
from tests.support.pools import add_examples, add_labels, batch
from tests.support.runtime import Api
from tests.support.working import drain

MANUAL: dict[str, Any] = {"retraining": {"automatic": False}}
NONE: dict[str, Any] = {"features": {"type": "none"}, **MANUAL}
NUMBERS: dict[str, Any] = {
    "task": {"type": "regression"},
    "estimator": {"name": "random_forest", "params": {}},
    **MANUAL,
}
SEVERAL: dict[str, Any] = {"task": {"type": "classification", "classes": ["a", "b"], "multi_label": True}, **MANUAL}
ROWS = 60


def filled(api: Api, count: int = ROWS, **changes: Any) -> str:
    project_id = api.project(**{**MANUAL, **changes})
    add_examples(api, project_id, count)
    return project_id


def without_features(api: Api, count: int = ROWS, **changes: Any) -> str:
    """A project of texts that no model here sees."""
    project_id = api.project(**{**NONE, **changes})
    rows = [{"id": f"e{n}", "data": {"text": f"text {n}"}} for n in range(count)]
    answer = api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    assert answer.status_code == 200, answer.text
    return project_id


def with_members(numbers: Iterable[int]) -> list[dict[str, Any]]:
    """Two members who agree on e0 and disagree ever more."""
    return [
        {"id": f"e{n}", "members": [[0.5 + n / 200, 0.5 - n / 200], [0.5 - n / 200, 0.5 + n / 200]]} for n in numbers
    ]


def with_vectors(numbers: Iterable[int]) -> list[dict[str, Any]]:
    """The vectors lie on a line of which every fourth place is taken four times."""
    return [{**row, "vector": [float(n // 4), 1.0]} for n, row in zip(numbers, said(numbers), strict=True)]


def ids(found: dict[str, Any]) -> list[str]:
    return [item["example_id"] for item in found["items"]]


def refused(api: Api, project_id: str, **query: Any) -> tuple[str, str, str]:
    """Pointer, code and sentence of a query that is refused."""
    answer = api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 3, **query})
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    return error["pointer"], error["code"], error["detail"]


def test_a_query_ranks_by_what_was_uploaded(api: Api) -> None:
    project_id = filled(api)
    own_model(api, project_id, said(range(ROWS)))
    found = batch(api, project_id, k=4, strategy="margin")
    assert ids(found) == ["e59", "e58", "e57", "e56"]
    assert [item["reason"]["value"] for item in found["items"]] == pytest.approx([0.41, 0.42, 0.43, 0.44], abs=1e-6)
    assert found["items"][0]["prediction"] == {"label": "a", "probabilities": {"a": 0.705, "b": 0.295}}
    assert found["strategy"]["fallback_reason"] is None
    assert found["pool"] == {"candidates": ROWS, "without_predictions": 0, "group_mates": 0}


def test_the_default_query_serves_too(api: Api) -> None:
    project_id = filled(api)
    own_model(api, project_id, said(range(ROWS)))
    found = batch(api, project_id, k=4)
    assert (found["strategy"]["name"], found["strategy"]["fallback_reason"]) == ("auto", None)


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("task", "name"),
    [(task, entry.name) for entry in STRATEGIES.values() if entry.picks != "labelled" for task in entry.tasks],
)
def test_every_strategy_that_is_not_refused_ranks_by_what_was_uploaded(api: Api, task: str, name: str) -> None:
    entry = STRATEGIES[name]
    changes: dict[str, Any] = {"classification": {}, "multi_label": SEVERAL, "regression": NUMBERS}[task]
    project_id = without_features(api, **{**changes, **NONE})
    rows = with_vectors(range(40))
    if task == "regression":
        rows = [{"id": r["id"], "mean": 0.5, "spread": n / 10, "vector": r["vector"]} for n, r in enumerate(rows)]
    else:
        rows = [{**row, "members": one["members"]} for row, one in zip(rows, with_members(range(40)), strict=True)]
    label: Any = {"classification": "a", "multi_label": ["a"], "regression": 1.0}[task]
    labels = [{"example_id": f"e{n}", "label": label} for n in (0, 50)]  # nothing is known of the second
    assert api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": labels}).status_code == 200
    own_model(api, project_id, rows)
    missing = {"model": "external_model", **({"committee": "no_committee"} if task == "regression" else {})}
    if lacks := missing.keys() & set(entry.needs):
        assert refused(api, project_id, strategy=name)[:2] == ("/strategy", missing[lacks.pop()])
        return
    params = {"target_class": "a"} if name == "certainty" else {}
    found = batch(api, project_id, k=10, strategy=name, params=params)
    assert (found["strategy"]["name"], found["strategy"]["fallback_reason"]) == (name, None)
    assert len(found["items"]) == 10
    if name != "random":
        assert {int(example_id[1:]) for example_id in ids(found)} <= set(range(1, 40))
        assert found["pool"] == {"candidates": 39, "without_predictions": 19, "group_mates": 0}
        assert all(item["prediction"] for item in found["items"])


def test_candidates_without_a_prediction_are_left_out_and_told(api: Api) -> None:
    project_id = filled(api)
    own_model(api, project_id, said(range(10)))
    found = batch(api, project_id, k=20, strategy="entropy", lease_seconds=0)
    assert set(ids(found)) == {f"e{n}" for n in range(10)}
    assert found["pool"] == {"candidates": 10, "without_predictions": 50, "group_mates": 0}
    assert found["exhausted"] is False
    add_examples(api, project_id, 5, first=ROWS)
    later = batch(api, project_id, k=20, strategy="entropy", lease_seconds=0)
    assert (len(later["items"]), later["pool"]["without_predictions"]) == (10, 55)


def test_what_needs_no_prediction_picks_among_all(api: Api) -> None:
    project_id = filled(api)
    own_model(api, project_id, said(range(10)))
    for strategy in ("random", "k_center"):
        found = batch(api, project_id, k=ROWS, strategy=strategy, lease_seconds=0)
        assert found["pool"] == {"candidates": ROWS, "without_predictions": 0, "group_mates": 0}
        told = {item["example_id"]: item["prediction"] for item in found["items"]}
        assert len(told) == ROWS
        assert {example_id for example_id, one in told.items() if one} == {f"e{n}" for n in range(10)}


def test_narrowing_and_balancing_need_predictions(api: Api) -> None:
    project_id = filled(api)
    own_model(api, project_id, said(range(10)))
    narrowed = {"strategy": "margin", "count": 5}
    found = batch(api, project_id, k=9, strategy="random", candidates=narrowed, lease_seconds=0)
    assert set(ids(found)) == {f"e{n}" for n in range(5, 10)}
    found = batch(api, project_id, k=20, strategy="random", class_balanced=True, lease_seconds=0)
    assert found["pool"]["without_predictions"] == 50


def test_held_out_examples_are_drawn_with_predictions_and_without(api: Api) -> None:
    project_id = filled(api, 200, holdout_fraction=0.5)
    own_model(api, project_id, said(range(40)))
    found = batch(api, project_id, k=10, strategy="margin", lease_seconds=0)
    held = [item for item in found["items"] if item["reason"]["strategy"] == "holdout"]
    assert len(held) == 5
    assert found["pool"]["candidates"] + found["pool"]["without_predictions"] == 200
    assert any(item["prediction"] is None for item in held)
    assert all(item["prediction"] for item in found["items"] if item not in held)


def test_a_changed_example_is_another_than_was_predicted(api: Api) -> None:
    project_id = without_features(api, 4)
    own_model(api, project_id, said(range(4)))
    path = f"/v1/projects/{project_id}/examples"
    rows = [{"id": "e3", "data": {"text": "another"}}, {"id": "e2", "data": {"text": "text 2"}, "priority": 1}]
    assert api.http.post(path, json={"examples": rows}).json()["updated"] == 2
    found = batch(api, project_id, k=4, strategy="margin")
    assert (ids(found), found["pool"]["without_predictions"]) == (["e2", "e1", "e0"], 1)


def test_a_batch_tells_how_stale_the_predictions_are(api: Api) -> None:
    project_id = filled(api)
    add_labels(api, project_id, range(3))
    predictions(api, project_id, said(range(30)))
    add_labels(api, project_id, range(3, 5))
    own_model(api, project_id, said(range(30, 60)))
    add_labels(api, project_id, range(5, 6))
    note = batch(api, project_id, k=1, strategy="margin")["model"]
    assert (note["labels_used"], note["labels_since"], note["name"]) == (3, 3, "mine")


def test_members_rank_by_their_disagreement(api: Api) -> None:
    project_id = filled(api)
    own_model(api, project_id, with_members(range(ROWS)))
    found = batch(api, project_id, k=3, strategy="bald")
    assert ids(found) == ["e59", "e58", "e57"]
    p, q = 0.795, 0.205
    expected = np.log(2) + p * np.log(p) + q * np.log(q)
    assert found["items"][0]["reason"]["value"] == pytest.approx(expected, abs=1e-5)
    assert found["items"][0]["prediction"]["probabilities"] == {"a": 0.5, "b": 0.5}


def test_uploaded_vectors_stand_in_for_features(api: Api) -> None:
    project_id = without_features(api)
    own_model(api, project_id, with_vectors(range(ROWS)))
    found = batch(api, project_id, k=15, strategy="k_center")
    assert {int(example_id[1:]) // 4 for example_id in ids(found)} == set(range(15))  # of copies only one is picked


def test_numbers_rank_by_their_spread(api: Api) -> None:
    project_id = filled(api, **NUMBERS)
    own_model(api, project_id, [{"id": f"e{n}", "mean": -n, "spread": n / 10} for n in range(ROWS)])
    found = batch(api, project_id, k=2, strategy="predictive_deviation")
    assert [item["prediction"] for item in found["items"]] == [
        {"mean": -59.0, "spread": 5.9},
        {"mean": -58.0, "spread": 5.8},
    ]


@pytest.mark.parametrize(
    ("strategy", "code", "remedy"),
    [
        ("vote_entropy", "no_committee", "`members`"),
        ("badge", "no_features", "`vector`"),
        ("label_errors", "no_features", "`vector`"),
        ("drop_query", "no_features", "`vector`"),
    ],
)
def test_what_was_not_uploaded_is_asked_for(api: Api, strategy: str, code: str, remedy: str) -> None:
    project_id = without_features(api)
    own_model(api, project_id, said(range(ROWS)))
    pointer, found, detail = refused(api, project_id, strategy=strategy)
    assert (pointer, found) == ("/strategy", code)
    assert remedy in detail


def test_a_strategy_that_asks_the_model_itself_is_refused(api: Api) -> None:
    project_id = filled(api)
    own_model(api, project_id, said(range(ROWS)))
    pointer, code, detail = refused(api, project_id, strategy="drop_query")
    assert (pointer, code) == ("/strategy", "external_model")
    assert "trained here" in detail
    narrowed = {"strategy": "bald", "count": 5}
    assert refused(api, project_id, strategy="k_center", candidates=narrowed)[:2] == (
        "/candidates/strategy",
        "no_committee",
    )


def test_label_errors_are_found_with_features_of_the_project(api: Api) -> None:
    project_id = filled(api)
    add_labels(api, project_id, range(20))
    own_model(api, project_id, said(range(10)))
    found = batch(api, project_id, k=20, strategy="label_errors", lease_seconds=0)
    assert (found["strategy"]["name"], len(found["items"])) == ("label_errors", 20)


def test_without_features_nothing_is_trained(api: Api) -> None:
    project_id = without_features(api, retraining={"automatic": True, "first_at": 2, "every": 2})
    answer = add_labels(api, project_id, range(8))
    assert answer["training"] == {"job_id": None, "labels_until_next": None}
    job = api.http.post(f"/v1/projects/{project_id}/trainings", json={}).json()
    drain(api.runtime)
    result = api.http.get(f"/v1/jobs/{job['id']}").json()["result"]
    assert (result["model"], result["reason"]) == (None, "no_features")
    found = batch(api, project_id, k=3)
    assert found["strategy"]["name"] == "random"
    assert counts(api, project_id)["model_version"] is None


def test_without_features_the_default_is_the_margin(api: Api) -> None:
    project_id = without_features(api)
    own_model(api, project_id, said(range(ROWS)))
    found = batch(api, project_id, k=2)
    assert (ids(found), found["strategy"]["name"]) == (["e59", "e58"], "margin")
    assert (found["strategy"]["fallback_from"], found["strategy"]["fallback_reason"]) == ("auto", "no_features")


def test_a_query_that_waited_while_another_version_was_activated_uses_that(api: Api) -> None:
    project_id = filled(api)
    own_model(api, project_id, with_members(range(ROWS)))
    job = api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 2, "strategy": "bald"}).json()
    own_model(api, project_id, said(range(ROWS)), model="other")
    drain(api.runtime)
    found = api.http.get(f"/v1/jobs/{job['id']}/batch").json()
    assert (found["strategy"]["name"], found["strategy"]["fallback_reason"]) == ("margin", "no_committee")
    assert found["model"]["name"] == "other"


def test_predictions_go_with_their_project(api: Api) -> None:
    project_id = filled(api)
    own_model(api, project_id, said(range(ROWS)))
    assert api.http.delete(f"/v1/projects/{project_id}").status_code == 202
    drain(api.runtime)
    assert not list(api.runtime.objects.list())
