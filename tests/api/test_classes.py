"""Classes that are renamed and merged: labels, models and batches follow."""

from typing import Any

import pytest
from sqlalchemy import event, select

from service.actions import example_rows, label_rows, large_uploads, prediction_uploads, uploads
from service.db.tables import LabelHistory
from tests.support.own_models import predictions
from tests.support.own_models import said as predicted
from tests.support.pools import add_examples, add_labels, ask, batch, merge_unseen
from tests.support.runtime import Api
from tests.support.working import drain

Response = Any
_THREE = {"type": "classification", "classes": ["a", "b", "c"]}


def patch(api: Api, project_id: str, **changes: Any) -> Response:
    return api.http.patch(f"/v1/projects/{project_id}", json=changes, headers={"If-Match": "*"})


def said(api: Api, project_id: str) -> dict[str, Any]:
    items = api.http.get(f"/v1/projects/{project_id}/labels").json()["items"]
    return {item["example_id"]: item["label"] for item in items}


def history(api: Api) -> list[str | None]:
    with api.runtime.database.read() as session:
        return list(session.scalars(select(LabelHistory.value).order_by(LabelHistory.id)))


def train(api: Api, project_id: str) -> Any:
    job_id = api.http.post(f"/v1/projects/{project_id}/trainings").json()["id"]
    drain(api.runtime)
    return api.http.get(f"/v1/jobs/{job_id}").json()["result"]


def test_a_renamed_class_keeps_its_labels_and_its_model(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(20))
    train(api, project_id)
    before = batch(api, project_id, k=5, strategy="margin", lease_seconds=0)["items"]
    changed = patch(api, project_id, rename_classes={"a": "b", "b": "a"})  # each takes the other's name
    assert changed.status_code == 200
    assert changed.json()["task"]["classes"] == ["b", "a"]
    assert changed.json()["counts"]["labels"]["total"] == 20
    assert said(api, project_id) == {f"e{n}": "a" if n % 2 else "b" for n in range(20)}
    assert sorted(map(str, history(api))) == [*"a" * 10, *"b" * 10]
    after = batch(api, project_id, k=5, strategy="margin", lease_seconds=0)
    assert after["model"]["version"] == 1
    for old, new in zip(before, after["items"], strict=True):
        assert old["example_id"] == new["example_id"]
        shown = old["prediction"]["probabilities"]
        assert new["prediction"]["probabilities"] == {"b": shown["a"], "a": shown["b"]}
    unknown = api.http.post(
        f"/v1/projects/{project_id}/labels", json={"labels": [{"example_id": "e30", "label": "old"}]}
    )
    assert unknown.status_code == 422


def test_a_merged_class_gives_its_labels_to_the_other_and_a_model_of_what_is_left_is_trained(api: Api) -> None:
    project_id = api.project(task=_THREE)
    add_examples(api, project_id, 60)
    rows = [{"example_id": f"e{n}", "label": "abc"[n % 3]} for n in range(30)]
    api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": rows})
    drain(api.runtime)
    assert batch(api, project_id, k=1, lease_seconds=0)["model"]["version"] == 1
    merged = patch(api, project_id, merge_classes={"a": "b"}, rename_classes={"b": "x"})
    assert merged.json()["task"]["classes"] == ["x", "c"]
    assert merged.json()["counts"]["model_version"] is None
    assert said(api, project_id) == {f"e{n}": "c" if n % 3 == 2 else "x" for n in range(30)}
    assert len(history(api)) == 20
    refused = api.http.post(f"/v1/projects/{project_id}/models/1/activate", json={})
    assert refused.status_code == 409
    drain(api.runtime)
    item = batch(api, project_id, k=1, strategy="margin", lease_seconds=0)
    assert item["model"]["version"] == 2
    assert set(item["items"][0]["prediction"]["probabilities"]) == {"x", "c"}


def test_models_of_before_a_merge_serve_no_more_whatever_the_names_are_now(api: Api) -> None:
    project_id = api.project(task=_THREE, retraining={"automatic": False})
    add_examples(api, project_id, 40)
    rows = [{"example_id": f"e{n}", "label": "abc"[n % 3]} for n in range(30)]
    api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": rows})
    assert train(api, project_id)["model"]["version"] == 1
    activate = f"/v1/projects/{project_id}/models/1/activate"
    assert patch(api, project_id, rename_classes={"a": "x"}).status_code == 200
    assert api.http.post(activate, json={}).status_code == 200, "a model goes by the new names"
    assert patch(api, project_id, merge_classes={"x": "b"}).status_code == 200
    refused = api.http.post(activate, json={})
    assert refused.status_code == 409
    assert "merged since: it cannot serve. The project has no more: x. Train a new one." in refused.json()["detail"]
    assert patch(api, project_id, rename_classes={"b": "x", "c": "b"}).status_code == 200
    task = {**_THREE, "classes": ["x", "b", "c"]}
    assert patch(api, project_id, task=task).json()["task"]["classes"] == ["x", "b", "c"]
    assert api.http.get(f"/v1/projects/{project_id}/models/1").json()["classes"] == ["x", "b", "c"]
    again = api.http.post(activate, json={})
    assert again.status_code == 409, "the names are others' by now"
    assert "has no more" not in again.json()["detail"]
    assert train(api, project_id)["model"]["version"] == 2
    assert api.http.post(activate.replace("/1/", "/2/"), json={}).status_code == 200


def test_a_model_whose_class_has_taken_in_a_later_one_serves_no_more(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(20))
    assert train(api, project_id)["model"]["version"] == 1
    assert predictions(api, project_id, predicted(range(40))).json()["model_version"] == 2
    task = {"type": "classification", "classes": ["a", "b", "c"]}
    assert patch(api, project_id, task=task).status_code == 200
    assert patch(api, project_id, merge_classes={"c": "b"}).json()["task"]["classes"] == ["a", "b"]
    for version in (1, 2):
        answer = api.http.post(f"/v1/projects/{project_id}/models/{version}/activate", json={})
        assert answer.status_code == 409, "its b is not what b is now"
    assert predictions(api, project_id, predicted(range(40))).json()["model_version"] == 3
    assert api.http.post(f"/v1/projects/{project_id}/models/3/activate", json={}).status_code == 200


def test_several_classes_an_example_are_merged_within_their_lists(api: Api) -> None:
    project_id = api.project(task={**_THREE, "multi_label": True}, retraining={"automatic": False})
    add_examples(api, project_id, 4)
    lists: list[list[str]] = [["a", "b"], ["c"], [], ["a", "c"]]
    rows = [{"example_id": f"e{n}", "label": chosen} for n, chosen in enumerate(lists)]
    api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": rows})
    assert patch(api, project_id, merge_classes={"a": "b"}).status_code == 200
    assert said(api, project_id) == {"e0": ["b"], "e1": ["c"], "e2": [], "e3": ["b", "c"]}
    assert sorted(map(str, history(api))) == ['["a","b"]', '["a","c"]']


def test_what_was_under_way_is_made_for_the_new_names(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(20))
    train(api, project_id)
    from workers.jobs import query  # noqa: PLC0415 - what is overtaken

    rank, ranked = query._rank, []  # noqa: SLF001

    def overtaken(*arguments: Any) -> Any:
        ranked.append(rank(*arguments))
        if len(ranked) == 1:
            patch(api, project_id, rename_classes={"a": "good"})
        return ranked[-1]

    monkeypatch.setattr(query, "_rank", overtaken)
    job_id = ask(api, project_id, k=2, strategy="margin")
    drain(api.runtime)
    items = api.http.get(f"/v1/jobs/{job_id}/batch").json()["items"]
    assert len(ranked) == 2
    assert all(set(item["prediction"]["probabilities"]) == {"good", "b"} for item in items)


def test_a_training_and_a_query_notice_a_merge_that_leaves_the_names_as_they_were(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(20))
    from workers.jobs import query  # noqa: PLC0415 - what is overtaken
    from workers.jobs import train as training  # noqa: PLC0415 - likewise

    merged: list[Any] = []

    def overtaken(job: Any, name: str) -> None:
        work = getattr(job, name)

        def overtake(*arguments: Any) -> Any:
            found = work(*arguments)
            if job not in merged:
                merged.append(job)
                merge_unseen(api, project_id)
            return found

        monkeypatch.setattr(job, name, overtake)

    overtaken(training, "_measure")
    assert train(api, project_id)["reason"] == "classes_changed"
    assert train(api, project_id)["model"]["version"] == 1
    overtaken(query, "_rank")
    assert batch(api, project_id, k=2, strategy="margin")["model"] is None, "its b is not what b is now"
    assert merged == [training, query]


def test_an_upload_of_predictions_notices_a_merge_that_leaves_the_names_as_they_were(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 4)
    store = prediction_uploads._store  # noqa: SLF001 - what is overtaken

    def overtaken(*arguments: Any, **options: Any) -> Any:
        merge_unseen(api, project_id)
        return store(*arguments, **options)

    monkeypatch.setattr(prediction_uploads, "_store", overtaken)
    refused = predictions(api, project_id, predicted(range(4)))
    assert refused.status_code == 409
    assert "a change of the classes" in refused.json()["detail"]
    assert api.http.get(f"/v1/projects/{project_id}/models").json()["items"] == []


@pytest.mark.parametrize("change", ["renamed", "merged"])
@pytest.mark.parametrize("of", ["labels", "examples"])
def test_a_body_that_was_checked_for_the_old_classes_is_refused_whole(
    api: Api, monkeypatch: pytest.MonkeyPatch, of: str, change: str
) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 2)
    module = label_rows if of == "labels" else example_rows
    read = module.read

    def overtaken(*arguments: Any, **options: Any) -> Any:
        found = read(*arguments, **options)
        if change == "merged":
            merge_unseen(api, project_id)
        else:
            assert patch(api, project_id, rename_classes={"a": "good"}).status_code == 200
        return found

    monkeypatch.setattr(module, "read", overtaken)
    row = {"example_id": "e0", "label": "a"} if of == "labels" else {"id": "new", "vector": [0.0, 0.0], "label": "a"}
    refused = api.http.post(f"/v1/projects/{project_id}/{of}", json={of: [row]})
    assert refused.status_code == 409
    assert "classes of the project were changed" in refused.json()["detail"]
    assert said(api, project_id) == {}
    assert api.http.get(f"/v1/projects/{project_id}/examples/new").status_code == 404
    monkeypatch.undo()
    row["label"] = "a" if change == "merged" else "good"
    assert api.http.post(f"/v1/projects/{project_id}/{of}", json={of: [row]}).status_code == 200
    assert list(said(api, project_id).values()) == [row["label"]]


def test_a_large_upload_and_a_change_of_names_exclude_each_other(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The labels of an upload in pieces were checked before the first one: the names stay until it has ended."""
    monkeypatch.setattr(uploads, "_SMALL_ROWS", 1)
    project_id = api.project(retraining={"automatic": False})
    rows = [{"id": f"e{n}", "vector": [0.0, n], "label": "ab"[n % 2]} for n in range(4)]
    slices, answers = large_uploads._slices, []  # noqa: SLF001

    def interrupted(*arguments: Any) -> Any:
        for rows in slices(*arguments):
            answers.append(patch(api, project_id, rename_classes={"a": "good"}))
            yield rows

    monkeypatch.setattr(large_uploads, "_slices", interrupted)
    assert api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows}).json()["created"] == 4
    assert {(answer.status_code, "Retry-After" in answer.headers) for answer in answers} == {(409, True)}
    assert patch(api, project_id, rename_classes={"a": "good"}).status_code == 200
    assert set(said(api, project_id).values()) == {"good", "b"}


def test_the_prepared_ranking_goes(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 4)
    path = f"/v1/projects/{project_id}/next"
    first = api.http.get(path).json()["id"]
    drain(api.runtime)
    patch(api, project_id, rename_classes={"a": "good"})
    again = api.http.get(path)
    assert again.status_code == 202
    assert again.json()["id"] != first


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"rename_classes": {"z": "y"}}, "/rename_classes", "unknown_class"),
        ({"rename_classes": {"a": "b"}}, "/rename_classes", "duplicate_class"),
        ({"merge_classes": {"a": "z"}}, "/merge_classes", "unknown_class"),
        ({"merge_classes": {"a": "b", "b": "a"}}, "/merge_classes", "unknown_class"),
        ({"merge_classes": {"a": "a"}}, "/merge_classes", "unknown_class"),
        ({"merge_classes": {"a": "c", "b": "c"}}, "/merge_classes", "too_short"),
        ({"merge_classes": {"a": "c"}, "rename_classes": {"a": "d"}}, "/merge_classes", "renamed_too"),
        ({"merge_classes": {"a": "c"}, "task": {**_THREE, "classes": [*"abcd"]}}, "/task", "two_changes"),
    ],
)
def test_bad_changes_of_classes_change_nothing(api: Api, changes: dict[str, Any], pointer: str, code: str) -> None:
    project_id = api.project(task=_THREE)
    answer = patch(api, project_id, **changes)
    assert answer.status_code == 422
    assert [(bad["pointer"], bad["code"]) for bad in answer.json()["errors"]] == [(pointer, code)]
    assert api.http.get(f"/v1/projects/{project_id}").json()["task"]["classes"] == [*"abc"]


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_many_labels_are_renamed_by_as_few_statements_as_one(api: Api) -> None:
    classes = [f"class {n}" for n in range(1200)]
    project_id = api.project(task={**_THREE, "classes": classes}, retraining={"automatic": False})
    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "labels" in statement:
            statements.append(statement)

    counts = []
    for labels in (1, 2400):
        add_examples(api, project_id, labels)
        rows = [{"example_id": f"e{n}", "label": f"class {n % 1200}"} for n in range(labels)]
        api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": rows})
        event.listen(api.runtime.database.engine, "before_cursor_execute", count)
        assert patch(api, project_id, rename_classes={name: f"new {name}" for name in classes}).status_code == 200
        event.remove(api.runtime.database.engine, "before_cursor_execute", count)
        assert set(said(api, project_id).values()) <= {f"new {name}" for name in classes}
        counts.append(len(statements))
        statements.clear()
        patch(api, project_id, rename_classes={f"new {name}": name for name in classes})
    assert counts[0] == counts[1]
    assert len(history(api)) == 2 + 2 * 2400


def test_a_model_that_knows_only_one_of_two_merged_classes_serves_no_more(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(20))
    train(api, project_id)
    assert patch(api, project_id, task=_THREE).json()["counts"]["model_version"] == 1
    merged = patch(api, project_id, merge_classes={"b": "c"})
    assert merged.json()["counts"]["model_version"] is None
    assert api.http.get(f"/v1/projects/{project_id}/models/1").json()["classes"] == ["a", "b"]


def test_what_was_leased_from_the_prepared_ranking_is_given_with_the_new_names(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(20))
    train(api, project_id)
    api.http.patch(f"/v1/projects/{project_id}", json={"query": {"strategy": "margin"}}, headers={"If-Match": "*"})
    path = f"/v1/projects/{project_id}/next?annotator=alice"
    for names in ({"a", "b"}, {"good", "b"}):
        assert api.http.get(path).status_code == 202
        drain(api.runtime)
        assert set(api.http.get(path).json()["prediction"]["probabilities"]) == names
        patch(api, project_id, rename_classes={"a": "good"})


def test_a_merge_leaves_answers_without_the_merged_class_as_they_are(api: Api) -> None:
    project_id = api.project(task={**_THREE, "multi_label": True}, retraining={"automatic": False})
    add_examples(api, project_id, 1)
    row = {"example_id": "e0", "label": ["b", "c"]}
    api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": [row]})
    assert patch(api, project_id, merge_classes={"a": "c"}).json()["task"]["classes"] == ["b", "c"]
    assert (said(api, project_id), history(api)) == ({"e0": ["b", "c"]}, [])


def test_queries_under_way_and_the_projects_own_go_on_asking_for_the_same_class(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"strategy": "certainty", "params": {"target_class": "a"}}
    project_id = api.project(query=asked, retraining={"automatic": False})
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(20))
    train(api, project_id)
    before = batch(api, project_id, k=5, lease_seconds=0)["items"]
    queued = ask(api, project_id, k=5, lease_seconds=0)
    narrowed = ask(api, project_id, k=5, strategy="random", candidates={**asked, "count": 5}, lease_seconds=0)
    assert patch(api, project_id, rename_classes={"a": "b", "b": "a"}).json()["query"]["params"]["target_class"] == "b"
    from workers.jobs import query  # noqa: PLC0415 - what is overtaken

    rank, ranked = query._rank, []  # noqa: SLF001

    def overtaken(*arguments: Any) -> Any:
        ranked.append(rank(*arguments))
        if len(ranked) == 1:
            assert patch(api, project_id, rename_classes={"b": "good"}).status_code == 200
        return ranked[-1]

    monkeypatch.setattr(query, "_rank", overtaken)
    drain(api.runtime)
    found = [api.http.get(f"/v1/jobs/{job_id}/batch").json() for job_id in (queued, narrowed)]
    assert found[0]["strategy"]["params"]["target_class"] == "good"
    assert [item["example_id"] for item in found[0]["items"]] == [item["example_id"] for item in before]
    assert {item["example_id"] for item in found[1]["items"]} == {item["example_id"] for item in before}
    sent = {"strategy": "certainty", "params": {"target_class": "best"}}
    changed = patch(api, project_id, rename_classes={"good": "best", "a": "good"}, query=sent)
    assert changed.json()["query"]["params"]["target_class"] == "best"
