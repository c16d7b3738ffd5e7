"""The report on annotators, as a job."""

from typing import Any

import numpy as np
import pytest

from service.api.schemas.agreement import AgreementReport
from tests.support.pools import add_examples
from tests.support.runtime import Api
from tests.support.working import drain
from workers.jobs import agreement


def asked(api: Api, project_id: str) -> str:
    answer = api.http.post(f"/v1/projects/{project_id}/agreement")
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    assert (body["kind"], body["state"], body["result"]) == ("agreement", "queued", None)
    job_id: str = body["id"]
    return job_id


def report(api: Api, project_id: str) -> dict[str, Any]:
    job_id = asked(api, project_id)
    drain(api.runtime)
    job = api.http.get(f"/v1/jobs/{job_id}").json()
    assert job["state"] == "succeeded", job["error"]
    result: dict[str, Any] = job["result"]
    assert AgreementReport.model_validate(result).model_dump(mode="json") == result
    return result


def answered(api: Api, said: dict[str, str], **config: Any) -> str:
    """A project with the answers of each annotator to e0, e1, …: a letter each, a dot for none."""
    made = api.project(annotation={"overlap": 5}, retraining={"automatic": False}, **config)
    add_examples(api, made, max(map(len, said.values())))
    labels = [
        {"example_id": f"e{n}", "label": label, **({"annotator": name} if name else {})}
        for name, letters in said.items()
        for n, label in enumerate(letters)
        if label != "."
    ]
    if labels:
        assert api.http.post(f"/v1/projects/{made}/labels", json={"labels": labels}).status_code == 200
    return made


def test_agreement_and_quality_by_hand(api: Api) -> None:
    # Examples of two or three answers: aaa, aab, ab, ab. Of their pairs agree 3 of 3, 1 of 3, none and none.
    project_id = answered(api, {"anna": "aaaab", "ben": "aab..", "": "ab.b."})
    found = report(api, project_id)
    del found["annotators"]
    assert (found["answers"], found["examples"], found["examples_compared"], found["annotators_total"]) == (11, 5, 4, 3)
    assert found["percent"] == pytest.approx((1 + 1 / 3) / 4, abs=1e-6)
    assert found["reasons"] == {}


def test_each_annotator_against_the_others_and_against_the_truth(api: Api) -> None:
    rng = np.random.default_rng(0)
    right = ["ab"[n % 2] for n in range(40)]
    guessed = ["ab"[rng.integers(2)] for _ in right]
    said = {"anna": "".join(right) + "a", "ben": "".join(right), "carl": "".join(guessed)}
    found = report(api, answered(api, said))
    anna, ben, carl = found["annotators"]
    assert (anna["annotator"], anna["answers"], ben["annotator"]) == ("anna", 41, "ben")
    assert anna["accuracy"] == ben["accuracy"]
    assert (anna["accuracy"]["value"], anna["accuracy"]["high"], anna["accuracy"]["n"]) == (1, 1, 40)
    assert anna["accuracy"]["low"] == pytest.approx(0.912, abs=1e-3)  # 40 / (40 + 1.96²)
    assert anna["confusions"] == []
    agreed = np.mean(np.array(guessed) == np.array(right))
    assert carl["agreement"] == carl["accuracy"]["value"] == pytest.approx(agreed)
    assert anna["agreement"] == pytest.approx((1 + agreed) / 2)
    assert sum(mistake["count"] for mistake in carl["confusions"]) == 40 * (1 - agreed)
    assert {(mistake["truth"], mistake["answer"]) for mistake in carl["confusions"]} == {("a", "b"), ("b", "a")}
    assert 0 < found["fleiss_kappa"] < 1
    assert found["krippendorff_alpha"] == pytest.approx(found["fleiss_kappa"], abs=0.02)
    assert found["cohen_kappa"] == pytest.approx(found["fleiss_kappa"], abs=0.1)


@pytest.mark.parametrize(
    ("said", "reason", "percent"),
    [
        ({"anna": "."}, "no_answers", None),
        ({"anna": "ab"}, "one_annotator", None),
        ({"anna": "ab", "ben": "..a"}, "no_overlap", None),
        ({"anna": "aab", "ben": "aa"}, "no_variation", 1.0),
    ],
)
def test_what_is_not_defined_is_null_with_the_reason(
    api: Api, said: dict[str, str], reason: str, percent: float | None
) -> None:
    found = report(api, answered(api, said))
    assert found["percent"] == percent
    kappas = {"cohen_kappa", "fleiss_kappa", "krippendorff_alpha"}
    assert {found[name] for name in kappas} == {None}
    assert found["reasons"] == dict.fromkeys(kappas if percent else {*kappas, "percent"}, reason)
    if percent is None:
        assert all(each["accuracy"] is each["agreement"] is None for each in found["annotators"])


def test_of_several_classes_the_whole_answers_are_compared(api: Api) -> None:
    project_id = api.project(
        task={"type": "classification", "classes": ["a", "b"], "multi_label": True}, annotation={"overlap": 3}
    )
    add_examples(api, project_id, 12)
    rows = [
        {"example_id": f"e{n}", "label": ["a", "b"][: n % 3] if name != "carl" or n else ["b"], "annotator": name}
        for n in range(12)
        for name in ("anna", "ben", "carl")
    ]
    assert api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": rows}).status_code == 200
    found = report(api, project_id)
    assert found["percent"] == pytest.approx((11 + 1 / 3) / 12)
    assert [each["accuracy"]["value"] for each in found["annotators"]] == pytest.approx([1, 1, 11 / 12], abs=1e-6)
    assert found["annotators"][2]["confusions"] == [{"truth": [], "answer": ["b"], "count": 1}]


def test_numbers_have_alpha_alone(api: Api) -> None:
    project_id = api.project(task={"type": "regression"}, annotation={"overlap": 2})
    add_examples(api, project_id, 3)
    said = {"anna": [1.0, 5.0, 9.0], "ben": [1.0, 5.0, 6.0]}
    rows = [
        {"example_id": f"e{n}", "label": number, "annotator": name}
        for name, numbers in said.items()
        for n, number in enumerate(numbers)
    ]
    assert api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": rows}).status_code == 200
    found = report(api, project_id)
    # Observed 2 * 9 / 6; the six numbers have squared deviations of 47.5 from 4.5: expected 2 * 47.5 / 5.
    assert found["krippendorff_alpha"] == pytest.approx(1 - 3 / 19, abs=1e-6)
    assert found["reasons"] == dict.fromkeys(("percent", "cohen_kappa", "fleiss_kappa"), "numbers")
    assert [(each["agreement"], each["accuracy"]) for each in found["annotators"]] == [(None, None)] * 2


def test_annotators_who_answered_most_are_told_and_the_others_counted(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "_MOST_ANNOTATORS", 2)
    found = report(api, answered(api, {"anna": "a", "ben": "aba", "": "ab"}))
    assert [(each["annotator"], each["answers"]) for each in found["annotators"]] == [("ben", 3), (None, 2)]
    assert found["annotators_total"] == 3


def test_skips_are_no_answers_and_a_second_run_says_the_same(api: Api) -> None:
    project_id = answered(api, {"anna": "ab", "ben": "aa"})
    before = report(api, project_id)
    skip = {"labels": [{"example_id": "e0", "skip": True, "annotator": "carl"}]}
    assert api.http.post(f"/v1/projects/{project_id}/labels", json=skip).status_code == 200
    assert report(api, project_id) == before


def test_it_needs_the_scope_of_queries_and_the_project(api: Api) -> None:
    project_id, other = api.project(), api.project()
    path = f"/v1/projects/{project_id}/agreement"
    assert api.http.post(path, headers=api.key("read")).status_code == 403
    assert api.http.post(path, headers=api.key("query:run", project_id=other)).status_code == 404
    assert api.http.post(path, headers=api.key("query:run", project_id=project_id)).status_code == 202
    assert api.http.post(path, json={"strategy": "random"}).status_code == 422
    kinds = api.http.get(f"/v1/projects/{project_id}/jobs?kind=agreement").json()["items"]
    assert [job["kind"] for job in kinds] == ["agreement"]
