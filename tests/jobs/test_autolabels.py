"""Self-labelling: what a model labels, what it leaves to people, and how it is taken back."""

from typing import Any

import pytest
from sqlalchemy import select

from service.actions import autolabels, jobs
from service.api.deps.runtime import utc_now
from service.db.tables import AutolabelMark, Label, LabelHistory, Pool
from tests.support.pools import add_examples, add_labels, batch, merge_unseen, vector_of
from tests.support.programs import create as create_program
from tests.support.programs import next_parcel
from tests.support.runtime import Api
from tests.support.working import drain
from workers.jobs import autolabel, autolabel_writes, revocation
from workers.jobs import train as training
from workers.jobs.groups import read_groups
from workers.jobs.holdout import holdout_mask

WISH = {"target_precision": 0.9, "confidence_level": 0.9, "audit_share": 0.1}


def trained(api: Api, *, examples: int = 200, test: int = 60, wrong: int = 0, **project: Any) -> str:
    """A project with a model, and test rows of which some have a wrong label."""
    project_id = api.project(**{"retraining": {"automatic": False}, **project})
    add_examples(api, project_id, examples)
    add_labels(api, project_id, range(20))
    rows = [
        {"id": f"t{n}", "vector": vector_of(n), "split": "test", "label": "ab"[(n % 2) ^ (n < wrong)]}
        for n in range(test)
    ]
    if rows:
        assert api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows}).status_code == 200
    train(api, project_id)
    return project_id


def train(api: Api, project_id: str) -> dict[str, Any]:
    job = api.http.post(f"/v1/projects/{project_id}/trainings", json={}).json()
    drain(api.runtime)
    found: dict[str, Any] = api.http.get(f"/v1/jobs/{job['id']}").json()
    assert found["state"] == "succeeded", found
    return found


def ask(api: Api, project_id: str, **wish: Any) -> dict[str, Any]:
    answer = api.http.post(f"/v1/projects/{project_id}/autolabels", json={**WISH, **wish})
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def made(api: Api, project_id: str, **wish: Any) -> dict[str, Any]:
    job = ask(api, project_id, **wish)
    drain(api.runtime)
    assert api.http.get(f"/v1/jobs/{job['id']}").json()["state"] == "succeeded"
    return group(api, job)


def group(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get(job["links"]["autolabel"]).raise_for_status().json()
    return found


def counts(api: Api, project_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get(f"/v1/projects/{project_id}").json()["counts"]
    return found


def labels(api: Api, project_id: str) -> list[Label]:
    with api.runtime.database.read() as session:
        return list(session.scalars(select(Label).where(Label.project_id == project_id).order_by(Label.id)))


def marks(api: Api, kind: str) -> list[str]:
    with api.runtime.database.read() as session:
        found = session.scalars(select(AutolabelMark).where(AutolabelMark.kind == kind))
        return [mark.example_id for mark in found]


def revoke(api: Api, found: dict[str, Any]) -> dict[str, Any]:
    answer = api.http.delete(f"/v1/projects/{found['project_id']}/autolabels/{found['id']}")
    assert answer.status_code == 202, answer.text
    drain(api.runtime)
    job: dict[str, Any] = api.http.get(f"/v1/jobs/{answer.json()['id']}").json()
    assert job["state"] == "succeeded", job
    return group(api, job)


def test_a_model_labels_what_it_is_sure_of_as_one_group(api: Api) -> None:
    project_id = trained(api)
    before = counts(api, project_id)
    found = made(api, project_id)
    assert (found["state"], found["model_version"], found["evidence"]) == (
        "labelled",
        1,
        {"test": 60, "holdout": 0, "random": 0},
    )
    assert found["precision"]["low"] >= 0.9
    assert found["precision"]["value"] <= found["precision"]["high"] <= 1
    assert 0 < found["coverage"] <= 1
    above = round(found["coverage"] * 180)
    assert found["labels"] + found["audit"] == above
    assert found["audit"] == -(-above // 10)
    own = [label for label in labels(api, project_id) if label.source == "automated"]
    assert {label.annotator for label in own} == {found["id"]}
    assert all(label.value == "ab"[int(label.example_id[1:]) % 2] for label in own)
    after = counts(api, project_id)
    assert after["labels"] == {"human": 80, "automated": found["labels"], "total": 80 + found["labels"]}
    assert after["examples"]["labeled"] == before["examples"]["labeled"] + found["labels"]
    assert after["labels_since_model"] == 0, "models do not learn from it"


def test_it_is_the_same_for_the_same_labels_and_streams(api: Api) -> None:
    project_id = trained(api)
    first, second = (made(api, project_id, dry_run=True) for _ in range(2))
    same = ("threshold", "precision", "coverage", "evidence")
    assert [first[name] for name in same] == [second[name] for name in same]
    assert (first["state"], first["labels"], marks(api, "audit"), counts(api, project_id)["labels"]["automated"]) == (
        "tried",
        0,
        [],
        0,
    )


@pytest.mark.parametrize("test", [0, 21])
def test_too_few_unbiased_rows_are_refused_with_the_reason(api: Api, test: int) -> None:
    project_id = trained(api, test=test)
    found = made(api, project_id)
    assert (found["state"], found["labels"], found["threshold"]) == ("refused", 0, None)
    assert found["refusal"]["code"] == "too_few_unbiased_rows"
    assert f"{test} rows are unbiased" in found["refusal"]["detail"]
    assert "22 at least" in found["refusal"]["detail"]
    assert counts(api, project_id)["labels"]["automated"] == 0


def test_a_target_that_is_not_shown_is_refused(api: Api) -> None:
    project_id = trained(api, wrong=20)
    found = made(api, project_id)
    assert (found["state"], found["refusal"]["code"]) == ("refused", "target_not_met")
    assert labels(api, project_id)[-1].source == "human"


def test_without_anything_left_it_is_refused(api: Api) -> None:
    project_id = trained(api, examples=20)
    assert made(api, project_id)["refusal"]["code"] == "nothing_to_label"


def test_rows_that_a_strategy_picked_prove_nothing(api: Api) -> None:
    """A hundred labels of people, none of them drawn at random."""
    project_id = trained(api, test=0)
    add_labels(api, project_id, range(20, 120))
    assert made(api, project_id)["evidence"] == {"test": 0, "holdout": 0, "random": 0}


def test_what_was_drawn_at_random_since_the_model_counts_until_a_model_has_learnt_it(api: Api) -> None:
    project_id = trained(api, test=0)
    answer_drawn(api, project_id)
    found = made(api, project_id)
    assert (found["state"], found["evidence"]) == ("labelled", {"test": 0, "holdout": 0, "random": 30})
    revoke(api, found)
    train(api, project_id)
    assert made(api, project_id)["evidence"]["random"] == 0


def answer_drawn(api: Api, project_id: str, **asked: Any) -> None:
    """Have thirty examples that were drawn at random labelled."""
    drawn = batch(api, project_id, k=30, explore=1.0, annotator="bob", **asked)
    shared = {"batch_id": drawn["job_id"], "annotator": "bob"}
    ids = [item["example_id"] for item in drawn["items"]]
    rows = [{"example_id": one, "label": "ab"[int(one[1:]) % 2], **shared} for one in ids]
    assert len(rows) == 30
    assert api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": rows}).status_code == 200


@pytest.mark.parametrize("deleted", [False, True])
def test_what_the_model_has_learnt_from_others_proves_nothing(api: Api, *, deleted: bool) -> None:
    """Those that are drawn had a label before the model, which was taken back since or stays beside the new one."""
    project_id = trained(api, examples=60, test=0, annotation={"overlap": 2})
    add_labels(api, project_id, range(20, 60))
    train(api, project_id)
    for label in labels(api, project_id) if deleted else ():
        assert api.http.delete(f"/v1/projects/{project_id}/labels/{label.id}").status_code == 204
    answer_drawn(api, project_id)
    assert made(api, project_id)["evidence"]["random"] == 0


def test_what_was_drawn_from_a_part_of_the_pool_proves_nothing(api: Api) -> None:
    project_id = trained(api, test=0)
    rows = [{"id": f"x{n}", "vector": vector_of(n), "data": {"kind": "easy"}} for n in range(40)]
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    answer_drawn(api, project_id, filter={"kind": "easy"})
    assert made(api, project_id)["evidence"]["random"] == 0


def test_what_is_held_out_since_a_training_proves_nothing(api: Api) -> None:
    project_id = trained(api, test=0)
    add_labels(api, project_id, range(20, 150))
    train(api, project_id)
    change = {"holdout_fraction": 0.5}
    patched = api.http.patch(f"/v1/projects/{project_id}", json=change, headers={"If-Match": "*"})
    assert patched.status_code == 200
    assert made(api, project_id)["evidence"]["holdout"] == 0
    train(api, project_id)
    assert made(api, project_id)["evidence"]["holdout"] > 50


def test_test_rows_that_were_trained_on_prove_nothing(api: Api) -> None:
    """Until a model is trained without them."""
    project_id = trained(api, test=30)
    moved = [{"id": f"e{n}", "vector": vector_of(n), "split": "test"} for n in range(5)]
    assert api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": moved}).json()["updated"] == 5
    assert made(api, project_id, dry_run=True)["evidence"]["test"] == 30
    train(api, project_id)
    assert made(api, project_id, dry_run=True)["evidence"]["test"] == 35


def test_held_out_rows_prove_and_are_not_labelled(api: Api) -> None:
    project_id = trained(api, test=0, holdout_fraction=0.5)
    add_labels(api, project_id, range(20, 150))
    train(api, project_id)
    found = made(api, project_id)
    assert found["evidence"]["holdout"] > 50
    assert found["state"] == "labelled"
    assert found["labels"] + found["audit"] < 45, "of 50 that are left, about half are held out"


def test_held_out_rows_that_changed_since_a_training_prove_nothing(api: Api) -> None:
    """Of another group, or none, they may have been trained on; and rows were held out by themselves then."""
    project_id = trained(api, test=0, holdout_fraction=0.5)
    add_labels(api, project_id, range(20, 150))
    train(api, project_id)
    alone = holdout_mask(200, 0.5, 0)
    assert made(api, project_id, dry_run=True)["evidence"]["holdout"] == alone[:150].sum()
    rows = [{"id": f"e{n}", "vector": vector_of(n), "group": f"document {n % 4}"} for n in range(20, 60)]
    assert api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows}).json()["updated"] == 40
    left = alone[:150].sum() - alone[20:60].sum()
    assert made(api, project_id, dry_run=True)["evidence"]["holdout"] == left
    train(api, project_id)
    with api.runtime.database.read() as session:
        held = holdout_mask(200, 0.5, 0, read_groups(session, project_id, 200))
    assert made(api, project_id, dry_run=True)["evidence"]["holdout"] == held[:150].sum()


def test_rows_that_a_training_saw_as_others_prove_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """They became test rows while it ran, or since and were labelled anew."""
    project_id = trained(api, test=5)

    def become_test_rows(numbers: range) -> None:
        rows = [{"id": f"e{n}", "vector": vector_of(n), "split": "test"} for n in numbers]
        assert api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows}).json()["updated"] == 5

    measure = training._measure  # noqa: SLF001 - what happens at that moment

    def meanwhile(*args: Any) -> Any:
        become_test_rows(range(5))
        return measure(*args)

    with monkeypatch.context() as during:
        during.setattr(training, "_measure", meanwhile)
        train(api, project_id)
    become_test_rows(range(5, 10))
    listed = api.http.get(f"/v1/projects/{project_id}/labels").json()["items"]
    for label in listed:
        if label["example_id"] == "e7":
            assert api.http.delete(f"/v1/projects/{project_id}/labels/{label['id']}").status_code == 204
    add_labels(api, project_id, [7])
    assert made(api, project_id, dry_run=True)["evidence"]["test"] == 5


def test_what_people_hold_label_or_skip_is_left_to_them(api: Api) -> None:
    project_id = trained(api)
    held = batch(api, project_id, k=50, strategy="certainty", params={"target_class": "a"}, annotator="alice")
    found = made(api, project_id, audit_share=0.0)
    own = {label.example_id for label in labels(api, project_id) if label.source == "automated"}
    assert own
    assert own.isdisjoint(item["example_id"] for item in held["items"])
    assert found["audit"] == 0


def test_a_limit_draws_at_random(api: Api) -> None:
    project_id = trained(api)
    found = made(api, project_id, max_labels=7)
    assert found["labels"] == 7
    assert found["audit"] > 7


def test_the_audit_share_goes_to_people_first_and_blindly_and_is_measured(api: Api) -> None:
    project_id = trained(api)
    found = made(api, project_id, max_labels=20)
    left = set(marks(api, "audit"))
    assert len(left) == found["audit"]
    assert left.isdisjoint(label.example_id for label in labels(api, project_id))
    assert found["audited"] is None
    given = batch(api, project_id, k=8, annotator="alice")
    audits = [item for item in given["items"] if item["reason"]["strategy"] == "audit"]
    assert [item["example_id"] in left for item in given["items"]] == [True] * 4 + [False] * (len(given["items"]) - 4)
    assert len(audits) == 4
    assert [item["prediction"] for item in audits] == [None] * 4
    wrong = audits[0]["example_id"]
    rows = [
        {
            "example_id": one["example_id"],
            "label": "ab"[(int(one["example_id"][1:]) % 2) ^ (one["example_id"] == wrong)],
        }
        for one in audits
    ]
    api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": rows})
    audited = api.http.get(f"/v1/projects/{project_id}/autolabels/{found['id']}").json()["audited"]
    assert (audited["value"], audited["n"]) == (0.75, 4)
    assert audited["low"] < 0.75 < audited["high"]
    following = batch(api, project_id, k=8, annotator="alice", lease_seconds=0)
    again = {item["example_id"] for item in following["items"] if item["reason"]["strategy"] == "audit"}
    assert again
    assert again.isdisjoint(item["example_id"] for item in audits)


def test_programs_get_nothing_of_the_audit_share(api: Api) -> None:
    project_id = trained(api, annotation={"automatic": True})
    made(api, project_id, max_labels=20)
    left = set(marks(api, "audit"))
    create_program(api, project_id, batch_size=100)
    parcel = next_parcel(api)
    assert left.isdisjoint(one for one in left if f'"{one}"'.encode() in parcel.body)


def test_one_at_a_time_gives_the_audit_share_first(api: Api) -> None:
    project_id = trained(api)
    made(api, project_id)
    left = set(marks(api, "audit"))
    api.http.get(f"/v1/projects/{project_id}/next?annotator=alice")
    drain(api.runtime)
    given = api.http.get(f"/v1/projects/{project_id}/next?annotator=alice").json()
    assert given["example_id"] in left
    assert given["reason"]["strategy"] == "audit"


def test_revoking_takes_the_whole_group_back_and_nothing_else(api: Api) -> None:
    project_id = trained(api)
    before, people = counts(api, project_id), [label.id for label in labels(api, project_id)]
    first = made(api, project_id, max_labels=5)
    add_examples(api, project_id, 30, first=300)
    second = made(api, project_id)
    own = [label for label in labels(api, project_id) if label.annotator == first["id"]]
    both = {"example_id": own[0].example_id, "label": "a", "annotator": "alice"}
    api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": [both]})
    gone = revoke(api, first)
    assert (gone["state"], gone["labels"]) == ("revoked", 5)
    kept = labels(api, project_id)
    assert {label.annotator for label in kept if label.source == "automated"} == {second["id"]}
    assert [label.id for label in kept if label.source == "human"][:-1] == people
    with api.runtime.database.read() as session:
        assert len(session.scalars(select(LabelHistory)).all()) == 5
    revoke(api, second)
    api.http.delete(f"/v1/projects/{project_id}/labels/{kept[-1].id}")
    assert marks(api, "audit") == marks(api, "tested") == []
    after = counts(api, project_id)["examples"]
    assert (after["labeled"], after["unlabeled"]) == (
        before["examples"]["labeled"],
        30 + before["examples"]["unlabeled"],
    )
    again = api.http.delete(f"/v1/projects/{project_id}/autolabels/{first['id']}")
    assert again.status_code == 409


def test_what_a_group_has_left_is_not_proved_by_what_it_took(api: Api) -> None:
    """A second group rests on the other unbiased rows; where they are too few, it labels only what is new."""
    project_id = trained(api)
    first = made(api, project_id, max_labels=5)
    assert first["scope"] == "pool"
    assert len(marks(api, "tested")) == first["precision"]["n"] > 38
    assert made(api, project_id)["refusal"]["code"] == "nothing_to_label"
    add_examples(api, project_id, 20, first=300)
    second = made(api, project_id, audit_share=0.0)
    assert (second["state"], second["scope"], second["evidence"]["test"]) == ("labelled", "new", 60)
    own = [label for label in labels(api, project_id) if label.annotator == second["id"]]
    assert all(int(label.example_id[1:]) >= 300 for label in own)
    for group_of_labels in (first, second):
        revoke(api, group_of_labels)
    assert made(api, project_id, dry_run=True)["scope"] == "pool"


@pytest.mark.parametrize(
    ("learn_from", "used"), [("people", {20}), ("programs", {20}), ("everything", set(range(21, 201)))]
)
def test_models_learn_from_it_when_they_are_told_to(api: Api, learn_from: str, used: set[int]) -> None:
    project_id = trained(api, retraining={"automatic": False, "learn_from": learn_from})
    made(api, project_id)
    assert train(api, project_id)["result"]["model"]["labels_used"] in used


def test_a_persons_label_counts_alone(api: Api) -> None:
    project_id = trained(api, retraining={"automatic": False, "learn_from": "everything"})
    found = made(api, project_id)
    own = [label for label in labels(api, project_id) if label.annotator == found["id"]]
    rows = [{"example_id": label.example_id, "label": "ab"[label.value == "a"], "annotator": "alice"} for label in own]
    api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": rows})
    train(api, project_id)
    shown = api.http.get(f"/v1/projects/{project_id}/examples/{own[0].example_id}").json()["prediction"]
    asked = batch(api, project_id, k=1, strategy="random")["model"]
    assert asked["labels_used"] == 20 + len(own)
    assert shown is None or shown["label"] != own[0].value


def test_metrics_rest_on_people(api: Api) -> None:
    """Test rows that a program has labelled measure nothing."""
    project_id = trained(api, test=30)
    rows = [{"id": f"p{n}", "vector": vector_of(n), "split": "test"} for n in range(40)]
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    said = [{"example_id": f"p{n}", "label": "a", "source": "automated", "annotator": "bot"} for n in range(40)]
    assert api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": said}).status_code == 200
    result = train(api, project_id)["result"]["model"]
    assert (result["metrics"]["accuracy"]["method"], result["metrics"]["accuracy"]["n"]) == ("test", 30)


def test_nobody_else_labels_in_its_name(api: Api) -> None:
    project_id = trained(api)
    found = made(api, project_id, max_labels=3)
    row = {"example_id": "e150", "label": "a", "annotator": found["id"], "source": "automated"}
    answer = api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": [row]})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "reserved_name")
    example = {"id": "new", "vector": [1.0, 1.0], "label": "a", "annotator": found["id"]}
    answer = api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": [example]})
    assert answer.json()["errors"][0]["code"] == "reserved_name"


def test_a_lost_run_is_undone_and_done_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = trained(api)
    job = ask(api, project_id)
    label = autolabel_writes.label_some
    monkeypatch.setattr(autolabel, "_SLICE", 50)
    done: list[int] = []

    def once(*args: Any) -> None:
        if done:
            raise OSError("the disk went away")
        label(*args)
        done.append(1)

    monkeypatch.setattr(autolabel, "label_some", once)
    drain(api.runtime)
    assert counts(api, project_id)["labels"]["automated"] == 50
    monkeypatch.setattr(autolabel, "label_some", label)
    with api.runtime.write() as session:
        jobs.ring_again(session, jobs.get(session, job["id"]), now=utc_now())
    drain(api.runtime)
    found = group(api, job)
    assert found["state"] == "labelled"
    assert counts(api, project_id)["labels"]["automated"] == found["labels"] > 50


@pytest.mark.parametrize("lost_at", ["mark_tested", "leave_some"])
def test_marks_are_written_by_slices_and_made_anew_by_the_next_attempt(
    api: Api, monkeypatch: pytest.MonkeyPatch, lost_at: str
) -> None:
    project_id = trained(api)
    whole = made(api, project_id, dry_run=True, audit_share=0.5)
    job = ask(api, project_id, audit_share=0.5)
    monkeypatch.setattr(autolabel, "_SLICE", 20)
    monkeypatch.setattr(revocation, "_SLICE", 20)
    write = getattr(autolabel, lost_at)
    done: list[int] = []

    def once(*args: Any) -> None:
        if done:
            raise OSError("the disk went away")
        write(*args)
        done.append(1)

    kind = "tested" if lost_at == "mark_tested" else "audit"
    with monkeypatch.context() as lost:
        lost.setattr(autolabel, lost_at, once)
        drain(api.runtime)
    assert len(marks(api, kind)) == 20
    assert counts(api, project_id)["labels"]["automated"] == 0
    with api.runtime.write() as session:
        jobs.ring_again(session, jobs.get(session, job["id"]), now=utc_now())
    drain(api.runtime)
    found = group(api, job)
    assert found["state"] == "labelled"
    assert len(marks(api, "tested")) == whole["precision"]["n"] > 20
    assert len(marks(api, "audit")) == found["audit"] == whole["audit"] > 40
    assert found["labels"] == whole["coverage"] * 180 - found["audit"]
    revoke(api, found)
    assert marks(api, "tested") == marks(api, "audit") == []


@pytest.mark.parametrize("wish", [{"dry_run": True}, {"target_precision": 0.9999}])
def test_nothing_is_taken_back_of_a_run_that_labelled_nothing(api: Api, wish: dict[str, Any]) -> None:
    project_id = trained(api)
    found = made(api, project_id, **wish)
    assert found["state"] in {"tried", "refused"}
    answer = api.http.delete(f"/v1/projects/{project_id}/autolabels/{found['id']}")
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith("There is nothing to take back: the group was ")
    assert api.http.get(f"/v1/projects/{project_id}/jobs", params={"kind": "revocation"}).json()["items"] == []


def test_a_lost_run_leaves_nothing_to_one_that_refuses(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = trained(api)
    job = ask(api, project_id)

    def lose(*_: Any, **__: Any) -> None:
        raise OSError("the disk went away")

    with monkeypatch.context() as lost:
        lost.setattr(autolabel, "end", lose)
        drain(api.runtime)
    assert group(api, job)["labels"] > 0
    for n in range(50):
        assert api.http.delete(f"/v1/projects/{project_id}/examples/t{n}").status_code == 204
    with api.runtime.write() as session:
        jobs.ring_again(session, jobs.get(session, job["id"]), now=utc_now())
    drain(api.runtime)
    found = group(api, job)
    assert (found["state"], found["labels"], counts(api, project_id)["labels"]["automated"]) == ("refused", 0, 0)
    assert found["refusal"]["code"] == "too_few_unbiased_rows"


def test_a_question_that_came_of_an_example_meanwhile_is_left_alone(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = trained(api)
    begin = autolabel_writes.begin
    asked = [{"id": f"e{n}", "vector": vector_of(n), "split": "gold", "label": "a"} for n in range(20, 200)]

    def meanwhile(*args: Any) -> None:
        api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": asked}).raise_for_status()
        begin(*args)

    monkeypatch.setattr(autolabel, "begin", meanwhile)
    assert made(api, project_id)["labels"] == 0
    assert (marks(api, "audit"), counts(api, project_id)["labels"]["automated"]) == ([], 0)


def test_a_merge_ends_what_still_labels_even_when_the_names_are_what_they_were(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = trained(api)
    begin = autolabel_writes.begin

    def meanwhile(*args: Any) -> None:
        merge_unseen(api, project_id)
        begin(*args)

    monkeypatch.setattr(autolabel, "begin", meanwhile)
    job = ask(api, project_id)
    drain(api.runtime)
    ended = api.http.get(f"/v1/jobs/{job['id']}").json()
    assert ended["state"] == "failed"
    assert "classes of the project were changed" in ended["error"]["detail"]
    assert counts(api, project_id)["labels"]["automated"] == 0


def test_revoking_stops_what_still_labels(api: Api) -> None:
    project_id = trained(api)
    job = ask(api, project_id)
    refused = api.http.post(f"/v1/projects/{project_id}/autolabels", json=WISH)
    assert refused.status_code == 409
    gone = revoke(api, group(api, job))
    assert (gone["state"], gone["labels"]) == ("revoked", 0)
    assert api.http.get(f"/v1/jobs/{job['id']}").json()["state"] == "cancelled"
    assert counts(api, project_id)["labels"]["automated"] == 0


def test_classes_that_are_renamed_are_renamed_in_the_audit(api: Api) -> None:
    project_id = trained(api)
    found = made(api, project_id)
    changes = {"rename_classes": {"a": "b", "b": "a"}}
    answer = api.http.patch(f"/v1/projects/{project_id}", json=changes, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text
    rows = [{"example_id": one, "label": "ba"[int(one[1:]) % 2]} for one in marks(api, "audit")]
    api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": rows})
    audited = api.http.get(f"/v1/projects/{project_id}/autolabels/{found['id']}").json()["audited"]
    assert (audited["value"], audited["n"]) == (1.0, len(rows))


def test_the_interval_of_an_audit_is_that_of_another_implementation() -> None:
    from scipy.stats import binomtest  # noqa: PLC0415

    ours = autolabels.wilson(45, 50, level=0.95)
    theirs = binomtest(45, 50).proportion_ci(0.95, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_counters_stay_right(api: Api) -> None:
    project_id = trained(api)
    revoke(api, made(api, project_id))
    made(api, project_id, max_labels=9)
    with api.runtime.database.read() as session:
        pool = session.scalars(select(Pool).where(Pool.project_id == project_id)).one()
        assert (pool.labels_automated, pool.labels_human, pool.examples_labeled) == (9, 80, 89)
