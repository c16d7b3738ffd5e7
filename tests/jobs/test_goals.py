"""How far a project's goal is: a class to find, a metric to reach."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from service.db.tables import Project
from tests.support.pools import add_examples, add_labels, batch, vector_of
from tests.support.runtime import Api
from tests.support.working import drain
from workers.jobs.estimates import Before, Found, estimate, newly_met
from workers.jobs.labels import Labelled

FIND = {"find": "b", "recall": 0.5}
REACH = {"metric": "accuracy", "at_least": 0.9}


def progress(api: Api, project_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get(f"/v1/projects/{project_id}/progress").json()
    return found


def train(api: Api, project_id: str) -> None:
    assert api.http.post(f"/v1/projects/{project_id}/trainings").status_code == 202
    drain(api.runtime)


def patch(api: Api, project_id: str, **changes: Any) -> Any:
    return api.http.patch(f"/v1/projects/{project_id}", json=changes, headers={"If-Match": "*"})


def label_batches(api: Api, project_id: str, count: int) -> None:
    """Label what batches bring, by the rule of `add_labels`."""
    for _ in range(count):
        found = batch(api, project_id, k=20, strategy="random")
        add_labels(api, project_id, [int(item["example_id"][1:]) for item in found["items"]])


def add_tests(api: Api, project_id: str, numbers: Iterable[int]) -> None:
    rows = [{"id": f"t{n}", "vector": vector_of(n), "split": "test", "label": "b" if n % 2 else "a"} for n in numbers]
    assert api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows}).status_code == 200


def test_a_class_is_found_by_the_held_out_share(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False}, holdout_fraction=0.5, goal=FIND)
    add_examples(api, project_id, 120)
    hook = {"url": "https://example.com/hook", "events": ["stopping.suggested"]}
    webhook_id = api.http.post("/v1/webhooks", json=hook).json()["id"]
    label_batches(api, project_id, 2)
    train(api, project_id)
    first = progress(api, project_id)
    told = first["recall"]
    assert (told["find"], told["target"], told["reason"]) == ("b", 0.5, None)
    assert 0 < told["positives"] <= told["found"] <= 40
    assert told["drawn"] < 40
    assert told["recall"]["low"] <= told["recall"]["value"] <= told["recall"]["high"] <= 1
    assert told["recall"]["low"] <= told["found"] / 60 <= told["recall"]["high"]
    assert told["remaining"]["low"] <= 60 - told["found"] <= told["remaining"]["high"]
    (rule,) = first["stopping"]["rules"]
    assert (rule["name"], rule["threshold"], rule["met"]) == ("recall_reached", 0.5, False)
    label_batches(api, project_id, 4)
    train(api, project_id)
    last = progress(api, project_id)
    assert last["recall"]["recall"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert last["recall"]["remaining"]["high"] == 0
    assert last["stopping"]["suggested"] is True
    assert last["estimated_by"] == 2
    train(api, project_id)
    events = api.http.get(f"/v1/webhooks/{webhook_id}/deliveries").json()["items"]
    assert [event["event"] for event in events] == ["stopping.suggested"]  # once


def test_seeds_that_came_with_labels_are_found_and_not_drawn(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False}, holdout_fraction=0.5, goal=FIND)
    add_examples(api, project_id, 120)
    add_labels(api, project_id, [1, 2, *range(3, 60, 2)])  # all of the class but 30, and one other
    label_batches(api, project_id, 1)
    train(api, project_id)
    told = progress(api, project_id)["recall"]
    assert told["drawn"] == 10
    assert told["found"] >= 30 + told["positives"]
    assert told["remaining"]["low"] <= 60 - told["found"] <= told["remaining"]["high"]
    # 31 seeds are not what the 89 others are like
    assert told["recall"]["value"] == pytest.approx(
        told["found"] / (30 + max(round(told["positives"] / 10 * 89), told["found"] - 30))
    )


def test_what_a_strategy_picked_before_more_was_held_out_is_no_sample(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False}, goal={**REACH, "at_least": 0.01})
    add_examples(api, project_id, 120)
    label_batches(api, project_id, 2)
    patch(api, project_id, holdout_fraction=0.5)
    label_batches(api, project_id, 1)
    train(api, project_id)
    (rule,) = progress(api, project_id)["stopping"]["rules"]
    assert rule["met"] is False
    accuracy = api.http.get(f"/v1/projects/{project_id}/models/1").json()["metrics"]["accuracy"]
    assert (accuracy["method"], accuracy["biased"], accuracy["n"]) == ("holdout", True, 10)
    patch(api, project_id, goal=FIND)
    train(api, project_id)
    told = progress(api, project_id)
    assert (told["recall"]["reason"], told["recall"]["recall"]) == ("holdout_picked", None)
    assert [rule["met"] for rule in told["stopping"]["rules"]] == [False]


def test_what_is_drawn_of_a_part_of_the_pool_is_no_sample_of_it(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False}, holdout_fraction=0.5, goal=FIND)
    rows = [{"id": f"e{n}", "vector": vector_of(n), "data": {"part": n % 3}} for n in range(90)]
    assert api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows}).status_code == 200
    found = batch(api, project_id, k=20, strategy="random", filter={"part": 1})
    add_labels(api, project_id, [int(item["example_id"][1:]) for item in found["items"]])
    train(api, project_id)
    assert progress(api, project_id)["recall"]["reason"] == "holdout_picked"


def test_without_a_random_share_nobody_can_tell(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False}, goal=FIND)
    add_examples(api, project_id, 30)
    assert progress(api, project_id)["recall"]["reason"] == "not_estimated"
    assert progress(api, project_id)["stopping"] == {"suggested": False, "rules": []}
    add_labels(api, project_id, range(12))
    train(api, project_id)
    found = progress(api, project_id)
    assert (found["recall"]["reason"], found["recall"]["recall"], found["recall"]["found"]) == ("no_holdout", None, 6)
    assert found["stopping"]["rules"][0]["value"] is None


def test_labels_left_until_a_metric(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False}, goal=REACH)
    add_examples(api, project_id, 60)
    add_tests(api, project_id, range(100, 140))
    for first in range(0, 16, 8):
        add_labels(api, project_id, range(first, first + 8))
        train(api, project_id)
    left = progress(api, project_id)["labels_left"]
    assert (left["metric"], left["target"], left["biased"], left["points"]) == ("accuracy", 0.9, False, 2)
    assert (left["labels"], left["reason"]) == (0, "reached")


def test_only_points_that_were_measured_alike_make_a_curve() -> None:
    """0.95 - n^-0.5, measured on test rows, is 0.9 at 400 labels, 260 from the newest point on."""
    points = [(n, measured(0.95 - n**-0.5)) for n in range(20, 140, 20)]
    biased = [(n, measured(0.5, method="cross_validation")) for n in range(10, 60, 10)]
    project = Project(task={"type": "classification", "classes": ["a", "b"]}, goal=REACH, holdout_fraction=0.0)
    made = estimate(
        project,
        Before([*biased, *points]),
        {"accuracy": measured(0.95 - 140**-0.5)},
        Found(labelled(140), labelled(0), None),
        rng=np.random.default_rng(0),
    )
    assert made is not None
    left = made["labels_left"]
    assert (left["labels"], left["low"], left["high"]) == (pytest.approx(260, abs=1),) * 3
    assert (left["points"], left["biased"], left["reason"]) == (7, False, None)


def measured(value: float, *, method: str = "test") -> dict[str, Any]:
    return {"value": value, "low": value, "high": value, "method": method, "biased": method != "test", "n": 50}


def labelled(count: int) -> Labelled:
    rows = np.arange(count)
    return Labelled(rows, rows % 2, np.zeros(count, dtype=bool), rows, "")


def test_figures_by_cross_validation_are_called_biased_and_meet_no_rule(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False}, goal={**REACH, "at_least": 0.1})
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(20))
    train(api, project_id)
    found = progress(api, project_id)
    assert (found["labels_left"]["biased"], found["labels_left"]["reason"]) == (True, "reached")
    (rule,) = found["stopping"]["rules"]
    assert (rule["name"], rule["met"], rule["value"] > 0.1) == ("metric_reached", False, True)


def test_a_rule_that_is_met_for_another_goal_is_told_again() -> None:
    def kept(at_least: float, *, met: bool = True) -> dict[str, Any]:
        return {"goal": {**REACH, "at_least": at_least}, "rules": [{"name": "metric_reached", "met": met}]}

    assert newly_met(kept(0.9), kept(0.5)) == {"metric_reached"}
    assert newly_met(kept(0.9), kept(0.9)) == set()
    assert newly_met(kept(0.9), kept(0.9, met=False)) == newly_met(kept(0.9), None) == {"metric_reached"}
    assert newly_met(None, kept(0.9)) == set()


def test_another_goal_waits_for_the_next_training_and_a_class_keeps_its_goal(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False}, goal=FIND)
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(20))
    train(api, project_id)
    assert progress(api, project_id)["estimated_by"] == 1
    assert patch(api, project_id, rename_classes={"b": "c"}).json()["goal"] == {"find": "c", "recall": 0.5}
    assert progress(api, project_id)["recall"]["reason"] == "not_estimated"
    assert patch(api, project_id, goal=REACH).json()["goal"] == REACH
    changed = progress(api, project_id)
    assert (changed["estimated_by"], changed["recall"], changed["labels_left"]["reason"]) == (
        None,
        None,
        "not_estimated",
    )
    assert patch(api, project_id, goal={}).json()["goal"] == {}
    assert progress(api, project_id)["labels_left"] is None


@pytest.mark.parametrize(
    ("goal", "pointer"),
    [
        ({"metric": "accuracy"}, "/goal/at_least"),
        ({"at_least": 0.5}, "/goal/metric"),
        ({"recall": 0.5}, "/goal/find"),
        ({"metric": "log_loss", "at_least": 0.5}, "/goal/metric"),
        ({"metric": "accuracy", "at_least": 1.5}, "/goal/at_least"),
        ({"find": "z"}, "/goal/find"),
        ({"find": "a", "recall": 0}, "/goal/recall"),
    ],
)
def test_goals_that_do_not_suit_are_refused(api: Api, goal: dict[str, Any], pointer: str) -> None:
    project_id = api.project()
    answer = patch(api, project_id, goal=goal)
    assert answer.status_code == 422
    assert [bad["pointer"] for bad in answer.json()["errors"]] == [pointer]
    assert api.http.get(f"/v1/projects/{project_id}").json()["goal"] == {}


def test_several_classes_and_numbers_have_goals_too(api: Api) -> None:
    task = {"type": "classification", "classes": ["a", "b"], "multi_label": True}
    several = api.project(task=task, retraining={"automatic": False}, goal={"find": "b", **REACH, "metric": "micro_f1"})
    add_examples(api, several, 30)
    rows = [{"example_id": f"e{n}", "label": ["b"] if n % 2 else []} for n in range(20)]
    api.http.post(f"/v1/projects/{several}/labels", json={"labels": rows})
    train(api, several)
    found = progress(api, several)
    assert (found["recall"]["found"], found["labels_left"]["metric"]) == (10, "micro_f1")
    numbers = api.project(
        task={"type": "regression"}, retraining={"automatic": False}, goal={"metric": "r2", "at_least": 0.5}
    )
    add_examples(api, numbers, 30)
    told = [{"example_id": f"e{n}", "label": vector_of(n)[0]} for n in range(20)]
    api.http.post(f"/v1/projects/{numbers}/labels", json={"labels": told})
    train(api, numbers)
    assert progress(api, numbers)["labels_left"]["points"] == 1
    assert api.http.get(f"/v1/projects/{numbers}/models/1").json()["by_class"] == {}


def test_a_model_tells_how_good_it_is_at_each_class(api: Api) -> None:
    project_id = api.project(
        task={"type": "classification", "classes": ["a", "b", "never"]}, retraining={"automatic": False}
    )
    add_examples(api, project_id, 40)
    add_tests(api, project_id, range(100, 131))
    add_labels(api, project_id, range(20))
    train(api, project_id)
    patch(api, project_id, rename_classes={"a": "c"})
    model = api.http.get(f"/v1/projects/{project_id}/models/1").json()
    assert set(model["by_class"]) == {"c", "b"}
    recall = model["by_class"]["c"]["recall"]
    assert (recall["n"], recall["method"], recall["biased"]) == (16, "test", False)
    assert recall["low"] <= recall["value"] <= recall["high"]
    both = [model["by_class"][name]["recall"]["value"] for name in "cb"]
    assert model["metrics"]["balanced_accuracy"]["value"] == pytest.approx(sum(both) / 2)
