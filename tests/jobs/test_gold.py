"""Gold questions: mixed in unseen, answered once by everybody, never learnt."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from service.actions.batches import Ranked
from service.db.queries import candidates
from tests.support.bodies import examples, label, upload
from tests.support.pools import add_examples, add_labels, batch, vector_of
from tests.support.runtime import Api
from tests.support.working import drain
from workers.jobs.gold import by_place, mixed_in


def questions(count: int, answer: str = "a") -> list[dict[str, Any]]:
    return [
        {"id": f"g{n}", "vector": vector_of(n), "split": "gold", "label": answer, "data": {"n": n}}
        for n in range(count)
    ]


def gold_project(api: Api, count: int = 4, *, share: float = 0.5, pool: int = 40, **more: Any) -> str:
    annotation = {"gold_share": share, "lease_seconds": 600, **more}
    project_id = api.project(retraining={"automatic": False}, annotation=annotation)
    add_examples(api, project_id, pool)
    assert upload(api, project_id, questions(count)).json()["created"] == count
    return project_id


def asked(found: dict[str, Any]) -> set[str]:
    return {item["example_id"] for item in found["items"] if item["example_id"].startswith("g")}


def answer(api: Api, project_id: str, ids: set[str], annotator: str, value: str = "a") -> dict[str, Any]:
    rows = [{"example_id": one, "label": value, "annotator": annotator} for one in sorted(ids)]
    body: dict[str, Any] = label(api, project_id, *rows).json()
    return body


@pytest.mark.parametrize("strategy", ["random", "margin", "k_center"])
def test_nothing_in_a_batch_tells_which_they_are(api: Api, strategy: str) -> None:
    project_id = gold_project(api)
    add_labels(api, project_id, range(10))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    found = batch(api, project_id, k=8, strategy=strategy, annotator="ann")
    assert len(asked(found)) == 4
    assert len(found["items"]) == 8
    shapes = {
        str(sorted((key, type(value)) for key, value in {**item, **item["reason"]}.items() if key != "data"))
        for item in found["items"]
    }
    assert len(shapes) == 1
    scores = [item["score"] for item in found["items"]]
    assert np.diff(scores) == pytest.approx(
        np.full(7, scores[1] - scores[0]), abs=1e-6
    )  # no ties, no two sizes of steps
    assert scores[0] > scores[1]
    assert [item["reason"]["value"] for item in found["items"]] == [None] * 8
    assert "gold" not in str(found).replace("gold_share", "")


def test_a_filter_holds_for_them_too(api: Api) -> None:
    project_id = gold_project(api)
    rows = [{"id": f"f{n}", "vector": vector_of(n), "data": {"n": 1}} for n in range(6)]
    upload(api, project_id, rows)
    found = batch(api, project_id, k=6, annotator="ann", filter={"n": 1})
    assert {item["data"]["n"] for item in found["items"]} == {1}
    assert asked(found) == {"g1"}


def test_beside_what_models_leave_to_people_they_look_like_that() -> None:
    rows = [ranked(100, prediction={"label": "a"}), ranked(0, strategy="audit"), ranked(1, strategy="audit")]
    mixed = mixed_in(rows, np.array([100]), 3, np.random.default_rng(0))
    assert {(one.strategy, one.explore, one.propensity, one.prediction is None) for one in mixed} == {
        ("audit", False, None, True)
    }
    drawn = [ranked(100), *(ranked(n, strategy="random", explore=True, propensity=0.1) for n in range(2))]
    mixed = mixed_in(drawn, np.array([100]), 3, np.random.default_rng(0))
    assert {(one.strategy, one.explore, one.propensity) for one in mixed} == {("random", True, 0.1)}


def test_everybody_answers_each_once(api: Api) -> None:
    project_id = gold_project(api)
    first = asked(batch(api, project_id, k=4, annotator="ann"))
    assert len(first) == 2
    assert first <= asked(batch(api, project_id, k=4, annotator="ann"))  # promised, and not answered yet
    others = asked(batch(api, project_id, k=8, annotator="bob"))
    assert len(others) == 4
    answer(api, project_id, first, "ann")
    assert asked(batch(api, project_id, k=8, annotator="bob")) == others  # hers end none of his
    second = asked(batch(api, project_id, k=8, annotator="ann"))
    assert second == {"g0", "g1", "g2", "g3"} - first
    answer(api, project_id, second, "ann")
    assert asked(batch(api, project_id, k=8, annotator="ann")) == set()
    assert asked(batch(api, project_id, k=8)) == set()  # for nobody by name


def test_no_model_learns_them_and_they_start_no_training(api: Api) -> None:
    annotation = {"gold_share": 0.5, "lease_seconds": 600}
    project_id = api.project(retraining={"first_at": 4, "every": 4}, annotation=annotation)
    add_examples(api, project_id, 20)
    upload(api, project_id, questions(6))
    assert answer(api, project_id, {f"g{n}" for n in range(6)}, "ann", "b")["training"]["labels_until_next"] is None
    add_labels(api, project_id, range(4))
    drain(api.runtime)
    model = api.http.get(f"/v1/projects/{project_id}/models/1").json()
    assert (model["labels_used"], model["metrics"]["accuracy"]["n"]) == (4, 4)


def test_the_report_tells_who_answers_rightly(api: Api) -> None:
    project_id = gold_project(api)
    answer(api, project_id, {"g0", "g1", "g2"}, "ann")
    answer(api, project_id, {"g3"}, "ann", "b")
    answer(api, project_id, {"g0"}, "bob", "b")
    renamed = {"rename_classes": {"a": "c"}}
    assert api.http.patch(f"/v1/projects/{project_id}", json=renamed, headers={"If-Match": "*"}).status_code == 200
    job_id = api.http.post(f"/v1/projects/{project_id}/agreement").json()["id"]
    drain(api.runtime)
    told = api.http.get(f"/v1/jobs/{job_id}").json()["result"]
    figures = {one["annotator"]: one["accuracy"] for one in told["gold"]}
    assert {name: (one["value"], one["n"]) for name, one in figures.items()} == {"ann": (0.75, 4), "bob": (0.0, 1)}
    assert figures["ann"]["low"] < 0.75 < figures["ann"]["high"]
    assert (told["answers"], told["annotators"]) == (0, [])


@pytest.mark.parametrize("overlap", [1, 2])
def test_one_at_a_time_they_come_now_and_then_and_once(api: Api, overlap: int) -> None:
    project_id = gold_project(api, 8, share=0.5, pool=30, overlap=overlap)
    path = f"/v1/projects/{project_id}/next"
    given: list[str] = []
    for _ in range(24):
        while (found := api.http.get(path, params={"annotator": "ann"})).status_code == 202:
            drain(api.runtime)
        item = found.json()
        assert item["lease"]["annotator"] == "ann"
        assert (item["rank"], item["score"], item["reason"]) == (None, None, None)
        given.append(item["example_id"])
        answer(api, project_id, {item["example_id"]}, "ann")
    assert len(set(given)) == 24
    gold = [example_id for example_id in given if example_id.startswith("g")]
    assert 2 <= len(gold) <= 8
    nameless = [api.http.get(path).json().get("example_id", "e") for _ in range(4)] if overlap == 1 else []
    assert all(example_id.startswith("e") for example_id in nameless)


def test_many_of_them_do_not_have_the_pool_ranked_again_and_again(api: Api) -> None:
    project_id = gold_project(api, 60, share=0.1, pool=150)
    path = f"/v1/projects/{project_id}/next"
    assert api.http.get(path, params={"annotator": "ann"}).status_code == 202
    drain(api.runtime)
    for _ in range(3):
        item = api.http.get(path, params={"annotator": "ann"}).json()
        answer(api, project_id, {item["example_id"]}, "ann")
        drain(api.runtime)
    (job,) = api.http.get(f"/v1/projects/{project_id}/jobs?kind=query").json()["items"]
    ranked = api.http.get(f"/v1/jobs/{job['id']}/batch").json()
    assert 10 <= len(asked(ranked)) <= 22  # twice the share


def test_only_answers_to_what_is_ranked_are_read_under_the_lock(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = gold_project(api)
    add_labels(api, project_id, range(20))
    read: list[Sequence[int]] = []
    answered_rows = candidates.answered_rows

    def watched(*args: Any, **kwargs: Any) -> Sequence[int]:
        read.append(answered_rows(*args, **kwargs))
        return read[-1]

    monkeypatch.setattr(candidates, "answered_rows", watched)
    assert api.http.get(f"/v1/projects/{project_id}/next").status_code == 202
    drain(api.runtime)
    assert read == [[]]  # none of the 20 is ranked


def test_where_nothing_is_left_nothing_is_asked(api: Api) -> None:
    project_id = gold_project(api, pool=1)
    found = batch(api, project_id, k=6, annotator="ann", lease_seconds=0)
    assert (len(asked(found)), len(found["items"])) == (1, 2)
    answer(api, project_id, {"e0"}, "ann")
    empty = batch(api, project_id, k=6, annotator="ann")
    assert (empty["items"], empty["exhausted"]) == ([], True)
    path = f"/v1/projects/{project_id}/next"
    while (turn := api.http.get(path, params={"annotator": "ann"})).status_code == 202:
        drain(api.runtime)
    assert turn.status_code == 204


def test_another_right_answer_is_a_change(api: Api) -> None:
    project_id = gold_project(api, 2)
    assert upload(api, project_id, questions(2)).json()["unchanged"] == 2
    assert upload(api, project_id, questions(2, "b")).json()["updated"] == 2
    api.http.patch(f"/v1/projects/{project_id}/examples/g0", json={"priority": 3})
    assert upload(api, project_id, [{**questions(1, "b")[0], "priority": 3}]).json()["unchanged"] == 1
    answer(api, project_id, {"g0"}, "ann", "b")
    job_id = api.http.post(f"/v1/projects/{project_id}/agreement").json()["id"]
    drain(api.runtime)
    (told,) = api.http.get(f"/v1/jobs/{job_id}").json()["result"]["gold"]
    assert told["accuracy"]["value"] == 1.0
    shown = examples(api, project_id)["g0"]
    assert (shown["split"], [one["annotator"] for one in shown["labels"]]) == ("gold", ["ann"])


def test_a_right_answer_is_corrected_after_classes_were_renamed(api: Api) -> None:
    project_id = gold_project(api, 2)
    swapped = {"rename_classes": {"a": "b", "b": "a"}}
    assert api.http.patch(f"/v1/projects/{project_id}", json=swapped, headers={"If-Match": "*"}).status_code == 200
    assert upload(api, project_id, questions(2, "b")).json()["unchanged"] == 2
    assert upload(api, project_id, questions(2, "a")).json()["updated"] == 2
    large = [*({"id": f"e{n}", "vector": vector_of(n)} for n in range(1_200)), *questions(2, "b")]
    assert upload(api, project_id, large).json()["updated"] == 2
    answer(api, project_id, {"g0", "g1"}, "ann", "b")
    job_id = api.http.post(f"/v1/projects/{project_id}/agreement").json()["id"]
    drain(api.runtime)
    (told,) = api.http.get(f"/v1/jobs/{job_id}").json()["result"]["gold"]
    assert told["accuracy"]["value"] == 1.0


def test_large_uploads_hold_them_too(api: Api) -> None:
    project_id = gold_project(api, 1)
    rows = [{"id": f"e{n}", "vector": vector_of(n)} for n in range(1_200)]
    assert upload(api, project_id, [*rows, *questions(6, "b")]).status_code == 200
    assert len(asked(batch(api, project_id, k=12, annotator="ann", lease_seconds=0))) == 6
    assert answer(api, project_id, {"g0", "g5"}, "ann", "b")["created"] == 2
    job_id = api.http.post(f"/v1/projects/{project_id}/agreement").json()["id"]
    drain(api.runtime)
    (told,) = api.http.get(f"/v1/jobs/{job_id}").json()["result"]["gold"]
    assert (told["accuracy"]["value"], told["accuracy"]["n"]) == (1.0, 2)


def test_exports_of_labels_tell_what_teaches_nothing(api: Api) -> None:
    project_id = gold_project(api, 1)
    add_labels(api, project_id, [0])
    answer(api, project_id, {"g0"}, "ann")
    upload(api, project_id, [{"id": "t0", "vector": vector_of(0), "split": "test", "label": "a"}])
    path = f"/v1/projects/{project_id}/labels"
    told = {"e0": "pool", "g0": "gold", "t0": "test"}
    assert {one["example_id"]: one["split"] for one in api.http.get(path).json()["items"]} == told
    table = csv.DictReader(io.StringIO(api.http.get(path, headers={"Accept": "text/csv"}).text))
    assert {one["example_id"]: one["split"] for one in table} == told


def test_a_question_without_its_answer_is_a_row_error(api: Api) -> None:
    project_id = api.project()
    answered = upload(api, project_id, [{"id": "g0", "vector": [0.0, 1.0], "split": "gold"}])
    assert answered.status_code == 422
    assert [(bad["pointer"], bad["code"]) for bad in answered.json()["errors"]] == [("/label", "missing_field")]
    refused = api.http.post(
        "/v1/projects",
        json={
            "name": "n",
            "task": {"type": "regression"},
            "features": {"type": "none"},
            "annotation": {"gold_share": 0.1},
        },
    )
    assert [bad["pointer"] for bad in refused.json()["errors"]] == ["/annotation/gold_share"]


def ranked(row: int, *, score: float = 1.0, value: float = np.nan, strategy: str = "margin", **more: Any) -> Ranked:
    fields = {"explore": False, "propensity": None, "prediction": None, "priority": 0.0, **more}
    return Ranked(row, score, value, strategy, **fields)


def test_places_are_drawn_and_scores_are_of_the_place() -> None:
    rows = [ranked(100), *(ranked(n, score=1 - n / 10, value=n / 10) for n in range(6))]
    seen = set()
    for seed in range(40):
        mixed = by_place(mixed_in(rows, np.array([100]), 4, np.random.default_rng(seed)))
        assert [one.row for one in mixed if one.row != 100] == list(range(6))
        seen.add([one.row for one in mixed].index(100))
        assert [one.score for one in mixed] == pytest.approx(np.linspace(1, 1 / 7, 7))
        assert np.isnan([one.value for one in mixed]).all()
    assert seen == {0, 1, 2, 3}
    assert mixed_in(rows[:1], np.array([100]), 4, np.random.default_rng(0)) == []
