"""Label errors as queries: who is asked about, what a batch says, and what labels for it do."""

from typing import Any

import numpy as np
import pytest

from tests.support.pools import add_examples, add_labels, batch
from tests.support.runtime import Api
from tests.support.working import drain
from workers.jobs import features

WRONG = {3, 8, 21, 34}


def labelled_project(api: Api, count: int = 60, **config: Any) -> str:
    """Examples of which all but the last 10 are labelled, four of them wrongly."""
    project_id = api.project(retraining={"automatic": False}, **config)
    add_examples(api, project_id, count)
    labels = [
        {"example_id": f"e{n}", "label": "b" if (n % 2 == 1) != (n in WRONG) else "a", "annotator": "alice"}
        for n in range(count - 10)
    ]
    assert api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": labels}).status_code == 200
    return project_id


def ids(found: dict[str, Any]) -> list[str]:
    return [item["example_id"] for item in found["items"]]


def test_flipped_labels_come_first_with_the_label_that_they_should_have(api: Api) -> None:
    project_id = labelled_project(api)
    found = batch(api, project_id, k=4, strategy="label_errors", annotator="bob")
    assert set(ids(found)) == {f"e{n}" for n in WRONG}
    assert found["strategy"]["name"] == "label_errors"
    assert found["strategy"]["fallback_reason"] is None
    assert found["pool"]["candidates"] == 50
    for item in found["items"]:
        odd = int(item["example_id"][1:]) % 2 == 1
        assert item["suggested_label"] == ("b" if odd else "a")
        assert item["current_label"] == ("a" if odd else "b")
        assert item["prediction"]["label"] == item["suggested_label"]
        p = item["prediction"]["probabilities"]
        assert item["reason"]["value"] == pytest.approx(p[item["current_label"]] - p[item["suggested_label"]], abs=1e-5)
        assert item["reason"]["value"] < 0


def test_only_training_examples_with_a_label_are_asked_about(api: Api) -> None:
    project_id = labelled_project(api)
    test_row = {"id": "test", "vector": [1.0, 0.0], "split": "test", "label": "a"}
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": [test_row]})
    api.http.delete(f"/v1/projects/{project_id}/examples/e5")
    found = batch(api, project_id, k=100, strategy="label_errors", lease_seconds=0)
    assert set(ids(found)) == {f"e{n}" for n in range(50)} - {"e5"}
    assert found["exhausted"] is True
    stands = [item for item in found["items"] if item["suggested_label"] == item["current_label"]]
    assert len(stands) > 40
    assert min(item["reason"]["value"] for item in stands) >= 0


def test_other_strategies_say_nothing_of_labels(api: Api) -> None:
    project_id = labelled_project(api)
    found = batch(api, project_id, k=3, strategy="random")
    assert all({"suggested_label", "current_label"}.isdisjoint(item) for item in found["items"])
    assert set(ids(found)) <= {f"e{n}" for n in range(50, 60)}


def test_labels_for_the_batch_mend_the_labels_and_end_the_leases(api: Api) -> None:
    project_id = labelled_project(api)
    first = batch(api, project_id, k=4, strategy="label_errors", annotator="alice")
    counts = api.http.get(f"/v1/projects/{project_id}").json()["counts"]
    assert batch(api, project_id, k=50, strategy="label_errors", annotator="bob")["pool"]["candidates"] == 46
    labels = [
        {"example_id": item["example_id"], "label": item["suggested_label"], "annotator": "alice"}
        for item in first["items"]
    ]
    answer = api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": labels}).json()
    assert (answer["updated"], answer["rejected"]) == (4, 0)
    after = api.http.get(f"/v1/projects/{project_id}").json()["counts"]
    assert after["examples"]["labeled"] == counts["examples"]["labeled"] == 50
    assert after["labels"] == counts["labels"]
    again = batch(api, project_id, k=4, strategy="label_errors", annotator="alice")
    assert {item["current_label"] == item["suggested_label"] for item in again["items"]} == {True}
    assert set(ids(batch(api, project_id, k=100, strategy="random"))) == {f"e{n}" for n in range(50, 60)}


@pytest.mark.parametrize("overlap", [1, 2])
def test_the_annotator_who_gave_a_label_may_be_asked_again_and_nobody_else_meanwhile(api: Api, overlap: int) -> None:
    project_id = labelled_project(api, annotation={"overlap": overlap, "lease_seconds": 60})
    mine = batch(api, project_id, k=4, strategy="label_errors", annotator="alice")
    assert set(ids(mine)) == {f"e{n}" for n in WRONG}
    assert set(ids(batch(api, project_id, k=6, strategy="label_errors", annotator="alice"))) > set(ids(mine))
    others = batch(api, project_id, k=100, strategy="label_errors", annotator="bob")
    assert len(others["items"]) == 44
    assert set(ids(others)).isdisjoint(ids(mine))


def test_filters_candidates_and_a_random_share_compose(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    rng = np.random.default_rng(0)
    rows = [
        {
            "id": f"e{n}",
            "vector": [float((n % 2) * 4 - 2 + x), float(z)],
            "data": {"lang": "de" if n < 20 else "en"},
            "label": "b" if (n % 2 == 1) != (n in WRONG) else "a",
        }
        for n, (x, z) in enumerate(rng.normal(scale=0.3, size=(40, 2)))
    ]
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    german = batch(api, project_id, k=2, strategy="label_errors", filter={"lang": "de"}, lease_seconds=0)
    assert set(ids(german)) == {"e3", "e8"}
    assert german["pool"]["candidates"] == 20
    narrowed = batch(
        api,
        project_id,
        k=10,
        strategy="label_errors",
        candidates={"strategy": "margin", "count": 8},
        explore=0.5,
        lease_seconds=0,
    )
    drawn = [item for item in narrowed["items"] if item["reason"]["explore"]]
    assert len(drawn) == 5
    assert all(item["suggested_label"] for item in narrowed["items"])
    balanced = batch(api, project_id, k=4, strategy="label_errors", class_balanced=True, lease_seconds=0)
    assert set(ids(balanced)) == {f"e{n}" for n in WRONG}


@pytest.mark.parametrize(
    ("labels", "reason", "size"),
    [([], "too_few_labels", 0), ([0, 1], "too_few_labels", 2), ([0, 2, 4], "one_class", 3)],
)
def test_too_few_labels_give_a_random_batch_with_the_reason(
    api: Api, labels: list[int], reason: str, size: int
) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 20)
    if labels:
        add_labels(api, project_id, labels)
    found = batch(api, project_id, k=5, strategy="label_errors")
    assert found["strategy"]["name"] == "random"
    assert (found["strategy"]["fallback_from"], found["strategy"]["fallback_reason"]) == ("label_errors", reason)
    assert len(found["items"]) == size
    assert {item["suggested_label"] for item in found["items"]} <= {None}
    assert all(item["current_label"] for item in found["items"])


def test_copies_with_different_labels_are_both_shown_and_the_models_choices_are_kept(api: Api) -> None:
    project_id = labelled_project(api, estimator={"name": "logistic_regression", "params": {"C": 3.0}})
    copies = [{"id": f"copy {label}", "vector": [1.5, 0.1], "label": label} for label in ("a", "b")]
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": copies})
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    found = batch(api, project_id, k=5, strategy="label_errors", lease_seconds=0)
    assert set(ids(found)) == {f"e{n}" for n in WRONG} | {"copy a"}
    assert found["model"]["version"] == 1


def test_text_and_the_held_out_part(api: Api) -> None:
    project_id = api.project(
        features={"type": "text", "field": "text"}, retraining={"automatic": False}, holdout_fraction=0.3
    )
    rows = [
        {
            "id": f"e{n}",
            "data": {"text": f"{'good fine' if n % 2 else 'bad awful'} number {n}"},
            "label": "b" if (n % 2 == 1) != (n in WRONG) else "a",
        }
        for n in range(60)
    ]
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    found = batch(api, project_id, k=60, strategy="label_errors")
    assert 30 <= len(found["items"]) < 55  # labels of the held-out part are never trained on, nor reviewed
    assert not any(item["reason"]["explore"] for item in found["items"])
    wrong = [f"e{n}" for n in sorted(WRONG) if f"e{n}" in ids(found)]
    assert set(ids(found)[: len(wrong)]) == set(wrong)


def test_a_class_that_is_added_while_a_query_ranks_does_not_disturb_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = labelled_project(api)
    fill = features.fill_features

    def add_a_class(*args: Any, **named: Any) -> None:
        etag = api.http.get(f"/v1/projects/{project_id}").headers["ETag"]
        task = {"type": "classification", "classes": ["a", "b", "c"]}
        path, match = f"/v1/projects/{project_id}", {"If-Match": etag}
        assert api.http.patch(path, json={"task": task}, headers=match).status_code == 200
        row = {"example_id": "e59", "label": "c", "annotator": "bob"}
        assert api.http.post(f"{path}/labels", json={"labels": [row]}).status_code == 200
        fill(*args, **named)

    monkeypatch.setattr("workers.jobs.query.fill_features", add_a_class)
    assert set(ids(batch(api, project_id, k=4, strategy="label_errors", annotator="bob"))) == {f"e{n}" for n in WRONG}
