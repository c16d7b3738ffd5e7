"""Queries as jobs: ranking, leases, races, composition."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from service.db.queries import arrays, projects
from service.db.tables import Pool
from tests.support.pools import add_examples, add_labels, ask, batch
from tests.support.runtime import Api
from tests.support.working import drain
from workers.jobs import candidates
from workers.jobs import pool as arrays_of_project
from workers.jobs.context import JobContext
from workers.jobs.pool import pin


def test_a_query_without_a_model_is_answered_by_a_named_stand_in(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 40)
    found = batch(api, project_id, k=5, strategy="margin")
    assert found["model"] is None
    assert found["strategy"]["name"] == "typiclust"
    assert found["strategy"]["fallback_from"] == "margin"
    assert found["strategy"]["fallback_reason"] == "no_model"
    assert [item["rank"] for item in found["items"]] == [1, 2, 3, 4, 5]
    assert len({item["example_id"] for item in found["items"]}) == 5


def test_with_a_model_the_least_certain_come_first(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 60)
    add_labels(api, project_id, range(20))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    found = batch(api, project_id, k=40, strategy="margin", lease_seconds=0)
    values = [item["reason"]["value"] for item in found["items"]]
    scores = [item["score"] for item in found["items"]]
    assert values == sorted(values)
    assert scores == sorted(scores, reverse=True)
    for item in found["items"]:
        p = sorted(item["prediction"]["probabilities"].values())
        assert item["reason"]["value"] == pytest.approx(p[-1] - p[-2], abs=1e-5)
        shown = item["prediction"]["probabilities"]
        assert item["prediction"]["label"] == max(shown, key=shown.__getitem__)
    assert found["model"]["version"] == 1
    assert found["model"]["labels_used"] == 20


@pytest.mark.any_database
def test_a_strategy_that_asks_the_model_is_given_it(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 60)
    add_labels(api, project_id, range(20))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    found = batch(api, project_id, k=5, strategy="drop_query", lease_seconds=0)
    assert found["strategy"]["name"] == "drop_query"
    assert len(found["items"]) == 5
    assert all(0 <= item["reason"]["value"] <= 1 for item in found["items"])


def test_labelled_leased_skipped_test_and_deleted_examples_are_not_picked(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 20)
    api.http.post(
        f"/v1/projects/{project_id}/examples",
        json={"examples": [{"id": "test", "vector": [0.0, 0.0], "split": "test"}]},
    )
    add_labels(api, project_id, [0])
    api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": [{"example_id": "e1", "skip": True}]})
    api.http.delete(f"/v1/projects/{project_id}/examples/e2")
    leased = batch(api, project_id, k=3, annotator="alice", strategy="random")
    rest = batch(api, project_id, k=100, annotator="bob", strategy="random")
    ids = {item["example_id"] for item in rest["items"]}
    taken = {item["example_id"] for item in leased["items"]}
    assert ids == {f"e{n}" for n in range(3, 20)} - taken
    assert rest["exhausted"] is True


def test_the_same_annotator_gets_own_leases_first(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 30)
    first = [item["example_id"] for item in batch(api, project_id, k=4, annotator="alice")["items"]]
    again = [item["example_id"] for item in batch(api, project_id, k=6, annotator="alice")["items"]]
    assert set(again[:4]) == set(first)
    other = {item["example_id"] for item in batch(api, project_id, k=24, annotator="bob")["items"]}
    assert other.isdisjoint(again)


def test_queries_that_ran_at_once_never_share_an_example(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 300)
    waiting = [ask(api, project_id, k=10, annotator=f"person {n}", strategy="random") for n in range(15)]
    drain(api.runtime)
    items = [
        item["example_id"] for job_id in waiting for item in api.http.get(f"/v1/jobs/{job_id}/batch").json()["items"]
    ]
    assert len(items) == 150
    assert len(set(items)) == 150


def test_overlap_gives_an_example_to_as_many_as_it_says(api: Api) -> None:
    project_id = api.project(annotation={"overlap": 2, "lease_seconds": 60})
    add_examples(api, project_id, 10)
    held: list[str] = []
    for name in ("a", "b", "c"):
        held += [item["example_id"] for item in batch(api, project_id, k=10, annotator=name)["items"]]
    assert len(held) == 20
    assert all(held.count(example_id) == 2 for example_id in held)


def test_released_and_expired_leases_can_be_given_to_others(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 6)
    job_id = ask(api, project_id, k=6, annotator="alice")
    drain(api.runtime)
    assert batch(api, project_id, k=6, annotator="bob")["items"] == []
    assert api.http.post(f"/v1/jobs/{job_id}/batch/renew", json={"lease_seconds": 60}).json()["changed"] == 6
    gone = api.http.post(f"/v1/jobs/{job_id}/batch/release", json={"example_ids": ["e0", "e3"]})
    assert gone.json() == {"job_id": job_id, "changed": 2}
    assert {item["example_id"] for item in batch(api, project_id, k=6, annotator="bob")["items"]} == {"e0", "e3"}


def test_the_same_seed_gives_the_same_batch(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 50)
    one, two = (batch(api, project_id, k=10, seed=7, lease_seconds=0, strategy="random") for _ in range(2))
    other = batch(api, project_id, k=10, seed=8, lease_seconds=0, strategy="random")
    assert one["items"] == two["items"]
    assert one["items"] != other["items"]


def test_what_changes_between_pin_and_reading_is_read_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = api.project()
    add_examples(api, project_id, 20)
    pins: list[int] = []

    def overtaken(session: Session, context: JobContext, pool: Pool) -> int:
        pins.append(pin(session, context, pool))
        if len(pins) == 1:
            pool.chunk_generation += 1
            session.flush()
        return pins[-1]

    monkeypatch.setattr(arrays_of_project, "pin", overtaken)
    assert len(batch(api, project_id, k=5)["items"]) == 5
    assert pins[1:] == [pins[0] + 1]


def test_a_filter_leaves_only_matching_examples(api: Api) -> None:
    project_id = api.project()
    rows = [
        {"id": f"e{n}", "vector": [float(n), 1.0], "data": {"lang": "de" if n % 2 else "en", "n": n}} for n in range(20)
    ]
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    found = batch(api, project_id, k=20, filter={"lang": "de"}, lease_seconds=0)
    assert {item["data"]["lang"] for item in found["items"]} == {"de"}
    assert len(found["items"]) == 10
    assert [item["example_id"] for item in batch(api, project_id, k=20, filter={"n": 4})["items"]] == ["e4"]


def test_a_filter_by_a_field_that_no_example_has_is_refused(api: Api) -> None:
    project_id = api.project()
    rows = [{"id": f"e{n}", "vector": [float(n), 1.0], "data": {"lang": "de"}} for n in range(2_000)]
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})  # large: stored by slices
    late = {"id": "late", "vector": [0.5, 1.0], "data": {"region": "north"}}
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": [late]})
    assert [item["example_id"] for item in batch(api, project_id, k=2, filter={"region": "north"})["items"]] == ["late"]
    answer = api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 1, "filter": {"lang": "de", "lnag": "de"}})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/filter/lnag", "unknown_field")
    assert "lang, region" in error["detail"]


def test_each_predicted_class_gets_its_share(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 60)
    add_labels(api, project_id, [0, 1, 2, 3, 4, 6, 8])
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    found = batch(api, project_id, k=9, strategy="margin", class_balanced=True, lease_seconds=0)
    labels = [item["prediction"]["label"] for item in found["items"]]
    assert (labels.count("a"), labels.count("b")) == (3, 6)  # 5 and 2 labels become 8 and 8


def test_explored_examples_are_marked_and_keep_their_propensity(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 80)
    found = batch(api, project_id, k=8, strategy="k_center", explore=0.5, lease_seconds=0)
    reasons = [item["reason"] for item in found["items"]]
    assert sorted(reason["explore"] for reason in reasons) == [False] * 4 + [True] * 4
    assert {reason["propensity"] for reason in reasons if reason["explore"]} == {4 / 80}
    assert {reason["propensity"] for reason in reasons if not reason["explore"]} == {None}


def test_the_held_out_share_is_drawn_at_random_and_marked(api: Api) -> None:
    project_id = api.project(holdout_fraction=0.25, retraining={"automatic": False})
    add_examples(api, project_id, 400)
    found = batch(api, project_id, k=40, strategy="random", lease_seconds=0)
    drawn = [item for item in found["items"] if item["reason"]["strategy"] == "holdout"]
    assert len(drawn) == 10
    assert all(item["reason"]["explore"] for item in drawn)


def test_a_snapshot_of_the_candidates_changes_no_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "_CHANGES_BEFORE_SNAPSHOT", 20)
    project_id = api.project()
    for n in range(30):
        add_examples(api, project_id, 1, first=n)
    before = batch(api, project_id, k=40, lease_seconds=0, strategy="random")
    with api.runtime.database.read() as session:
        assert projects.pool(session, project_id).snapshot_rows == 30
    add_labels(api, project_id, [5])
    after = batch(api, project_id, k=40, lease_seconds=0, strategy="random")
    assert {item["example_id"] for item in before["items"]} - {item["example_id"] for item in after["items"]} == {"e5"}


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"k": 0}, "/k"),
        ({"k": 10_001}, "/k"),
        ({"k": 1, "strategy": "nonsense"}, "/strategy"),
        ({"k": 1, "strategy": ""}, "/strategy"),
        ({"k": 1, "strategy": "margin", "params": {"nonsense": 1}}, "/params/nonsense"),
        ({"k": 1, "explore": 1.5}, "/explore"),
        ({"k": 1, "candidates": {"strategy": "k_center", "count": 5}}, "/candidates/strategy"),
        ({"k": 1, "unknown": True}, "/unknown"),
        ({}, "/k"),
    ],
)
def test_bad_queries_are_refused(api: Api, body: dict[str, Any], pointer: str) -> None:
    project_id = api.project()
    answer = api.http.post(f"/v1/projects/{project_id}/queries", json=body)
    assert answer.status_code == 422
    assert [bad["pointer"] for bad in answer.json()["errors"]] == [pointer]
    assert api.http.get(f"/v1/projects/{project_id}/jobs").json()["items"] == []


@pytest.mark.any_database
def test_strategies_that_ask_the_model_may_drop_words(api: Api) -> None:
    project_id = api.project(features={"type": "text", "field": "text"}, retraining={"automatic": False})
    rows = [
        {"id": f"e{n}", "data": {"text": f"{'good fine' if n % 2 else 'bad awful'} thing number {n}"}}
        for n in range(40)
    ]
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    add_labels(api, project_id, range(12))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    found = batch(api, project_id, k=5, strategy="drop_query", lease_seconds=0)
    assert found["strategy"]["name"] == "drop_query"
    assert len(found["items"]) == 5


def test_text_is_featurized_once_and_small_chunks_are_joined(api: Api) -> None:
    project_id = api.project(features={"type": "text", "field": "text"}, retraining={"automatic": False})
    for first in (0, 30, 60):
        rows = [
            {"id": f"e{n}", "data": {"text": f"{'good fine' if n % 2 else 'bad awful'} number {n}"}}
            for n in range(first, first + 30)
        ]
        api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
        assert len(batch(api, project_id, k=5, lease_seconds=0)["items"]) == 5
    with api.runtime.database.read() as session:
        chunks = arrays.live_chunks(session, project_id, arrays=["features:text-262144-2-1"], generation=arrays.LATEST)
        assert [(chunk.start, chunk.stop) for chunk in chunks] == [(0, 90)]
    add_labels(api, project_id, range(10))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    answer = api.http.get(f"/v1/projects/{project_id}/models/1")
    assert answer.json()["labels_used"] == 10
    assert np.isfinite(answer.json()["metrics"]["accuracy"]["value"])


def test_another_overlap_changes_who_may_be_picked(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 6)
    add_labels(api, project_id, [0])
    api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": [{"example_id": "e1", "skip": True}]})
    for overlap, expected in ((2, {"e0", "e1", "e2", "e3", "e4", "e5"}), (1, {"e2", "e3", "e4", "e5"})):
        body = {"annotation": {"overlap": overlap, "lease_seconds": 0}}
        headers = {"If-Match": "*"}
        assert api.http.patch(f"/v1/projects/{project_id}", json=body, headers=headers).status_code == 200
        found = batch(api, project_id, k=10, annotator="bob")
        assert {item["example_id"] for item in found["items"]} == expected
        skipped = api.http.get(f"/v1/projects/{project_id}").json()["counts"]["examples"]["skipped"]
        assert skipped == int(overlap == 1)


def test_a_batch_is_filled_from_the_other_part_when_one_runs_out(api: Api) -> None:
    project_id = api.project(holdout_fraction=0.5, retraining={"automatic": False})
    add_examples(api, project_id, 60)
    found = batch(api, project_id, k=60, strategy="random", lease_seconds=0)
    assert len(found["items"]) == 60
    narrow = batch(api, project_id, k=20, candidates={"strategy": "margin", "count": 5}, lease_seconds=0)
    assert 5 <= len({item["example_id"] for item in narrow["items"]}) <= 20


def test_only_a_query_of_the_whole_pool_says_that_it_is_exhausted(api: Api) -> None:
    project_id = api.project()
    api.http.post(
        f"/v1/projects/{project_id}/examples",
        json={"examples": [{"id": f"e{n}", "vector": [n, 1.0], "data": {"odd": n % 2}} for n in range(10)]},
    )
    hook = {"url": "https://example.com/hook", "events": ["pool.exhausted"]}
    webhook_id = api.http.post("/v1/webhooks", json=hook).json()["id"]
    deliveries = f"/v1/webhooks/{webhook_id}/deliveries"
    part = batch(api, project_id, k=8, filter={"odd": 1}, lease_seconds=0)
    assert part["exhausted"] is True
    assert api.http.get(deliveries).json()["items"] == []
    whole = batch(api, project_id, k=11, lease_seconds=0)
    assert len(api.http.get(deliveries).json()["items"]) == 1
    progress = api.http.get(f"/v1/jobs/{whole['job_id']}").json()["progress"]
    assert progress["done"] == progress["total"] > 0
