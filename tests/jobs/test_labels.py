"""The class that a model learns for an example, out of all its answers."""

from typing import Any

import numpy as np
import pytest

from tests.support.pools import add_examples, batch
from tests.support.runtime import Api
from tests.support.working import drain
from workers.jobs.labels import Answer, Labelled, consensus, gather

TASK = {"type": "classification", "classes": ["a", "b", "c"]}
SEVERAL = {**TASK, "multi_label": True}


def learnt(*answers: Answer, task: dict[str, Any] = TASK, truth: str = "majority") -> Labelled:
    return consensus(gather(answers, task), truth)


def said(*values: str) -> list[Answer]:
    """Answers of one annotator after the other to one example."""
    return [("e1", 7, "pool", value, f"annotator {i}") for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        (["b"], 1),
        (["b", "a", "b"], 1),
        (["a", "b"], 1),  # a tie: the newer answer has often been asked for to correct the older
        (["b", "a"], 0),
        (["c", "a", "b", "a", "b"], 1),
        (["a", "b", "b", "a"], 0),
    ],
)
def test_the_majority_wins_and_on_a_tie_the_newer_answer(answers: list[str], code: int) -> None:
    found = learnt(*said(*answers))
    assert found.rows.tolist() == [7]
    assert found.y.tolist() == [code]


def test_the_digest_tells_the_classes_of_the_examples() -> None:
    one = learnt(("e1", 7, "pool", "a", ""), ("e2", 9, "test", "b", ""))
    same = learnt(("e1", 3, "pool", "b", "x"), ("e1", 3, "pool", "a", "y"), ("e2", 4, "test", "b", ""))
    other = learnt(("e1", 7, "pool", "b", ""), ("e2", 9, "test", "b", ""))
    assert one.digest == same.digest != other.digest
    assert one.test.tolist() == [False, True]


@pytest.mark.parametrize(
    ("answers", "row"),
    [
        (["[]"], [0, 0, 0]),
        (['["a","c"]'], [1, 0, 1]),
        (['["a"]', '["a","b"]', '["c"]'], [1, 0, 0]),
        (['["a"]', '["b"]'], [0, 1, 0]),  # ties, decided by the newer answer
        (['["a","b"]', '["a"]'], [1, 0, 0]),
    ],
)
def test_of_several_classes_each_is_decided_by_itself(answers: list[str], row: list[int]) -> None:
    found = learnt(*said(*answers), task=SEVERAL)
    assert found.y.tolist() == [row]


def test_of_numbers_the_median_counts() -> None:
    other = ("e2", 8, "pool", "1.5", "")
    assert learnt(*said("1.0", "100.0", "3.0"), other, task={"type": "regression"}).y.tolist() == [3.0, 1.5]


@pytest.mark.parametrize("task", [TASK, SEVERAL, {"type": "regression"}])
def test_no_answers_are_no_labels(task: dict[str, Any]) -> None:
    assert learnt(task=task).size == 0


def careless(count: int) -> list[dict[str, Any]]:
    """Answers to `count` examples: two annotators are right, and three are wrong more often than not."""
    rng = np.random.default_rng(2)
    answers = []
    for n in range(count):
        right, wrong = ("b", "a") if n % 2 else ("a", "b")
        said = {"anna": right, "ben": right, **{name: wrong if rng.random() < 0.7 else right for name in "xyz"}}
        answers += [{"example_id": f"e{n}", "label": label, "annotator": name} for name, label in said.items()]
    return answers


def codes_of(rows: list[dict[str, Any]], truth: str) -> Labelled:
    rows = sorted(rows, key=lambda row: str(row["example_id"]))
    answers = [(row["example_id"], int(row["example_id"][1:]), "pool", row["label"], row["annotator"]) for row in rows]
    return learnt(*answers, truth=truth)


def test_by_dawid_and_skene_annotators_weigh_as_much_as_they_have_earned() -> None:
    rows = careless(60)
    voted, weighed = codes_of(rows, "majority"), codes_of(rows, "dawid_skene")
    np.testing.assert_array_equal(weighed.y, weighed.rows % 2)
    assert np.mean(voted.y == voted.rows % 2) < 0.8
    assert voted.digest != weighed.digest
    mixed = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    assert codes_of(mixed, "dawid_skene").digest == weighed.digest


def project_of(api: Api, **annotation: Any) -> str:
    """70 examples, and the careless answers to 60 of them."""
    project_id = api.project(annotation={"overlap": 5, **annotation}, retraining={"automatic": False})
    add_examples(api, project_id, 70)
    answer = api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": careless(60)})
    assert answer.status_code == 200, answer.text
    return project_id


def trained(api: Api, project_id: str) -> dict[str, Any]:
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    version = api.http.get(f"/v1/projects/{project_id}").json()["counts"]["model_version"]
    model: dict[str, Any] = api.http.get(f"/v1/projects/{project_id}/models/{version}").json()
    return model


def test_another_truth_is_a_change_of_the_labels_and_gives_another_model(api: Api) -> None:
    project_id = project_of(api)
    voted = trained(api, project_id)
    found = api.http.get(f"/v1/projects/{project_id}")
    assert found.json()["annotation"]["truth"] == "majority"
    assert found.json()["counts"]["labels_since_model"] == 0
    changes = {"annotation": {"overlap": 5, "truth": "dawid_skene"}}
    path, match = f"/v1/projects/{project_id}", {"If-Match": found.headers["ETag"]}
    changed = api.http.patch(path, json=changes, headers=match)
    assert changed.json()["counts"]["labels_since_model"] == 1
    same = api.http.patch(path, json=changes, headers={"If-Match": changed.headers["ETag"]})
    assert same.json()["counts"]["labels_since_model"] == 1
    weighed = trained(api, project_id)
    assert weighed["metrics"]["accuracy"]["value"] > voted["metrics"]["accuracy"]["value"]
    assert weighed["metrics"]["accuracy"]["value"] == 1


def test_another_truth_of_a_project_without_labels_asks_for_no_training(api: Api) -> None:
    project_id = api.project()
    etag = api.http.get(f"/v1/projects/{project_id}").headers["ETag"]
    changes = {"annotation": {"truth": "dawid_skene"}}
    changed = api.http.patch(f"/v1/projects/{project_id}", json=changes, headers={"If-Match": etag})
    assert changed.json()["counts"]["labels_since_model"] == 0
    answer = api.http.post("/v1/projects", json={**changed.json(), "annotation": {"truth": "the loudest"}})
    assert answer.status_code == 422


@pytest.mark.parametrize("task", [SEVERAL, {"type": "regression"}])
def test_annotators_are_weighed_where_an_example_has_one_class(api: Api, task: dict[str, Any]) -> None:
    body = {"name": "x", "task": task, "features": {"type": "vector", "dimensions": 2}}
    answer = api.http.post("/v1/projects", json={**body, "annotation": {"truth": "dawid_skene"}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/annotation/truth")
    made = api.http.post("/v1/projects", json=body)
    changes, match = {"annotation": {"truth": "dawid_skene"}}, {"If-Match": made.headers["ETag"]}
    assert api.http.patch(f"/v1/projects/{made.json()['id']}", json=changes, headers=match).status_code == 422


def test_queries_see_the_truth_that_models_learn(api: Api) -> None:
    project_id = project_of(api, truth="dawid_skene")
    found = batch(api, project_id, k=70, strategy="label_errors", lease_seconds=0)
    assert len(found["items"]) == 60
    assert all(i["current_label"] == ("b" if int(i["example_id"][1:]) % 2 else "a") for i in found["items"])
