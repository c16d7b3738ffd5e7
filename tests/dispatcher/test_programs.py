"""Programs that label: what they are sent, and what becomes of what they answer."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import update
from standardwebhooks import Webhook as Verifier

from service.actions import calls
from service.actions.calls import MOST_FAILURES
from service.actions.deliveries import Parcel
from service.actions.program_answers import RETRIES
from service.api.deps.runtime import utc_now
from service.db.queries import deliveries
from service.db.tables import Annotator
from service.dispatcher.timers import tasks
from tests.dispatcher.receivers import Received, hurry, receiver, run, sending, until
from tests.support.bodies import counts
from tests.support.pools import add_examples, ask
from tests.support.programs import (
    answered,
    batch_in,
    calls_of,
    create,
    ids_in,
    labels_for,
    labels_of,
    next_parcel,
    path_of,
    project_with_program,
    right,
    sent,
    shown,
    step,
    wait,
)
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.runtime import Api, make_api, make_runtime
from tests.support.working import drain


@pytest.fixture
def near(tmp_path: Path, database_url: str) -> Iterator[Api]:
    """A service whose programs may be on this machine."""
    runtime = make_runtime(
        tmp_path,
        database_url=database_url,
        webhook_allow="127.0.0.0/8",
        dispatcher_tick_seconds=0.02,
    )
    made = make_api(runtime)
    with made.http:
        yield made
    runtime.database.close()


def asked(api: Api) -> None:
    """Let the dispatcher's timer do what is due now, whatever pause it had planned."""
    with api.runtime.database.write() as session:
        session.execute(update(Annotator).where(Annotator.due_at.is_not(None)).values(due_at=utc_now()))
    (timer,) = [task for task in tasks(api.runtime) if task.name == "ask_programs"]
    timer.run(api.runtime)
    drain(api.runtime)


def post_labels(api: Api, project_id: str, rows: list[dict[str, Any]], **more: Any) -> Any:
    return api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": rows}, **more)


def later_rows(parcel: Parcel, ids: list[str] | None = None, **more: Any) -> list[dict[str, Any]]:
    """The labels of a batch as a program sends them to the labels endpoint."""
    shared = {"annotator": "rules", "source": "automated", "batch_id": batch_in(parcel)["job_id"], **more}
    return [{**right(one), **shared} for one in (ids_in(parcel) if ids is None else ids)]


def said(api: Api, project_id: str) -> list[dict[str, Any]]:
    """All labels, whenever they were said last."""
    return [{**one, "labeled_at": None} for one in labels_of(api, project_id)]


def has_labels(api: Api, project_id: str, count: int) -> bool:
    return len(labels_of(api, project_id)) == count


def test_a_pool_is_labelled_over_http_batch_after_batch(near: Api) -> None:
    async def scenario() -> None:
        def say(request: Received, _: str) -> tuple[str, bytes]:
            body = Verifier(made["secret"]).verify(request.body, request.headers)
            assert body["type"] == "annotation.requested"
            data = body["data"]
            assert (data["annotator"], data["task"]["classes"]) == ("rules", ["a", "b"])
            labels = [right(item["example_id"]) for item in data["batch"]["items"]]
            return "200 OK", orjson.dumps({"labels": labels, "cost": 0.25})

        async with receiver() as server:
            server.say = say
            project_id, made = project_with_program(near, url=server.url)
            async with sending(near.runtime):
                for count in (5, 10, 12):
                    asked(near)
                    asked(near)
                    await until(partial(has_labels, near, project_id, count))
                asked(near)
                asked(near)
            assert [len(orjson.loads(one.body)["data"]["batch"]["items"]) for one in server.received] == [5, 5, 2]
        found = labels_of(near, project_id)
        assert {(one["source"], one["annotator"]) for one in found} == {("automated", "rules")}
        assert [one["label"] for one in found] == [right(one["example_id"])["label"] for one in found]
        done = calls_of(near, made)
        assert [(call["state"], call["labels"], call["cost"]) for call in done] == [
            ("answered", 2, 0.25),
            ("answered", 5, 0.25),
            ("answered", 5, 0.25),
        ]
        assert {one["batch_id"] for one in found} == {call["job_id"] for call in done}
        now = shown(near, made)
        assert (now["labels_used"], now["cost_used"], now["state"], now["call"]) == (12, 0.75, "active", None)

    run(scenario)


def test_an_exhausted_pool_is_asked_about_no_more_until_it_grows(api: Api) -> None:
    project_id, made = project_with_program(api, examples=3)
    parcel = next_parcel(api)
    answered(api, parcel, labels_for(parcel))
    for _ in range(3):
        wait(api, 3600)
        step(api)
    jobs = api.http.get(f"/v1/projects/{project_id}/jobs?kind=query").json()["items"]
    assert len(jobs) == 2, "one that found nothing, and no more"
    assert len(calls_of(api, made)) == 1
    add_examples(api, project_id, 2, first=100)
    wait(api, 7300)
    step(api)
    (parcel,) = sent(api)
    assert sorted(ids_in(parcel)) == ["e100", "e101"]


def test_what_people_hold_is_waited_for(api: Api) -> None:
    project_id, _ = project_with_program(api, examples=3)
    ask(api, project_id, k=3, annotator="alice", lease_seconds=120)
    drain(api.runtime)
    wait(api, 1)
    step(api)
    wait(api, 60)
    step(api)
    assert sent(api) == []
    wait(api, 130)
    step(api)
    assert len(sent(api)) == 1


def test_what_it_leaves_out_goes_to_people_and_not_to_it_again(api: Api) -> None:
    project_id, made = project_with_program(api, examples=6, batch_size=4)
    parcel = next_parcel(api)
    kept, left = ids_in(parcel)[:1], ids_in(parcel)[1:]
    answered(api, parcel, orjson.dumps({"labels": [right(kept[0]), {"example_id": left[0], "skip": True}]}))
    second = next_parcel(api)
    assert set(ids_in(second)).isdisjoint(ids_in(parcel))
    answered(api, second, b'{"labels": []}')
    wait(api, 10)
    step(api)
    assert sent(api) == []
    assert [(call["state"], call["labels"]) for call in calls_of(api, made)] == [("answered", 0), ("answered", 1)]
    job_id = ask(api, project_id, k=10)
    drain(api.runtime)
    people = {item["example_id"] for item in api.http.get(f"/v1/jobs/{job_id}/batch").json()["items"]}
    assert people == {*left[1:], *ids_in(second)}


def test_two_programs_share_nothing(api: Api) -> None:
    project_id, _ = project_with_program(api)
    create(api, project_id, name="another")
    step(api)
    one, other = sent(api)
    assert set(ids_in(one)).isdisjoint(ids_in(other))


def test_its_labels_start_trainings(api: Api) -> None:
    project_id, _ = project_with_program(api, project={"retraining": {"first_at": 5}})
    parcel = next_parcel(api)
    answered(api, parcel, labels_for(parcel))
    drain(api.runtime)
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["model_version"] == 1


def test_an_answer_that_comes_twice_is_stored_once(api: Api) -> None:
    project_id, made = project_with_program(api)
    parcel = next_parcel(api)
    answered(api, parcel, labels_for(parcel, cost=1))
    before = said(api, project_id)
    answered(api, parcel, labels_for(parcel, cost=1))
    twisted = [{**right(one), "label": "a"} for one in ids_in(parcel)]
    answered(api, parcel, orjson.dumps({"labels": twisted}))
    again = post_labels(api, project_id, later_rows(parcel))
    assert (again.json()["unchanged"], again.json()["created"]) == (5, 0)
    assert said(api, project_id) == before
    assert (shown(api, made)["labels_used"], shown(api, made)["cost_used"]) == (5, 1)


def test_an_answer_after_the_lease_is_told_apart_and_stores_nothing(api: Api) -> None:
    project_id, made = project_with_program(api, lease_seconds=60)
    parcel = next_parcel(api)
    wait(api, 61)
    step(api)
    answered(api, parcel, labels_for(parcel))
    assert labels_of(api, project_id) == []
    (call, *_) = [one for one in calls_of(api, made) if one["state"] == "failed"]
    assert (call["failure"], call["delivery_id"]) == ("expired", parcel.delivery_id)
    assert shown(api, made)["failures"] == 1


def test_labels_may_come_later(api: Api) -> None:
    project_id, made = project_with_program(api)
    parcel = next_parcel(api)
    answered(api, parcel, b'{"cost": 0.5}', status=202)
    assert shown(api, made)["call"]["state"] == "accepted"
    wait(api, 5)
    step(api)
    assert sent(api) == [], "no other batch before this one is answered"
    rows = later_rows(parcel)
    assert post_labels(api, project_id, rows[:2], headers={"Idempotency-Key": "one"}).json()["created"] == 2
    wait(api, 10)
    step(api)
    assert shown(api, made)["call"]["labels"] == 2
    assert post_labels(api, project_id, rows).json()["created"] == 3
    wait(api, 20)
    step(api)
    assert [(call["state"], call["labels"], call["cost"]) for call in calls_of(api, made)][-1] == ("answered", 5, 0.5)
    assert len(sent(api)) == 1


def test_labels_that_come_after_the_lease_are_taken(api: Api) -> None:
    project_id, made = project_with_program(api, lease_seconds=60)
    parcel = next_parcel(api)
    answered(api, parcel, b"", status=202)
    wait(api, 61)
    step(api)
    assert [call["failure"] for call in calls_of(api, made)][-1] == "expired"
    assert post_labels(api, project_id, later_rows(parcel)).json()["created"] == 5
    assert shown(api, made)["labels_used"] == 5


def test_a_part_that_came_in_time_counts(api: Api) -> None:
    project_id, made = project_with_program(api, lease_seconds=60)
    parcel = next_parcel(api)
    answered(api, parcel, b"nonsense is fine here", status=202)
    post_labels(api, project_id, later_rows(parcel)[:3])
    wait(api, 61)
    step(api)
    assert [(call["state"], call["labels"]) for call in calls_of(api, made)][-1] == ("answered", 3)
    assert shown(api, made)["failures"] == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"batch_id": None}, "not_given"),
        ({"example_id": "e11"}, "not_given"),
        ({"source": "human"}, "not_automated"),
    ],
)
def test_labels_of_what_it_was_not_given_are_refused(api: Api, changes: dict[str, Any], code: str) -> None:
    project_id, _ = project_with_program(api)
    parcel = next_parcel(api)
    answered(api, parcel, b"", status=202)
    if "example_id" in changes:
        changes = {"example_id": next(f"e{n}" for n in range(12) if f"e{n}" not in ids_in(parcel))}
    row = {name: value for name, value in {**later_rows(parcel)[0], **changes}.items() if value is not None}
    answer = post_labels(api, project_id, [row])
    assert answer.status_code == 422
    assert [error["code"] for error in answer.json()["errors"]] == [code]
    assert labels_of(api, project_id) == []
    example = {"id": row["example_id"], "vector": [1.0, 1.0], "label": "a", "annotator": "rules"}
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": [example]})
    assert labels_of(api, project_id) == []


def test_a_batch_of_another_program_is_not_its_own(api: Api) -> None:
    project_id, _ = project_with_program(api)
    create(api, project_id, name="another")
    step(api)
    parcels = sent(api)
    theirs = next(one for one in parcels if orjson.loads(one.body)["data"]["annotator"] == "another")
    assert post_labels(api, project_id, later_rows(theirs)).status_code == 422
    assert post_labels(api, project_id, later_rows(theirs, annotator="another")).status_code == 200


def _labels(rows: list[Any]) -> bytes:
    return orjson.dumps({"labels": rows})


GARBAGE: dict[str, Callable[[Parcel], bytes | None]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"ok",
    "not utf-8": lambda _: b'{"labels": [{"example_id": "\xff"}]}',
    "a list": lambda p: orjson.dumps([right(one) for one in ids_in(p)]),
    "deep": lambda _: b"[" * 100_000,
    "another field": lambda p: labels_for(p, note="hi"),
    "NUL in a field's name": lambda p: labels_for(p, **{"no\0te": 1}),
    "endless field's name": lambda p: labels_for(p, **{"x" * 1_000_000: 1}),
    "another field of a row": lambda p: _labels([{**right(ids_in(p)[0]), "source": "human"}]),
    "unknown class": lambda p: _labels([{"example_id": ids_in(p)[0], "label": "c"}]),
    "a number": lambda p: _labels([{"example_id": ids_in(p)[0], "label": 1}]),
    "no label": lambda p: _labels([{"example_id": ids_in(p)[0]}]),
    "label and skip": lambda p: _labels([{**right(ids_in(p)[0]), "skip": True}]),
    "one twice": lambda p: _labels([right(ids_in(p)[0])] * 2),
    "negative cost": lambda p: labels_for(p, cost=-1),
    "endless cost": lambda p: labels_for(p)[:-1] + b', "cost": 1e999}',
    "too large": lambda _: None,
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_told_and_stores_nothing(api: Api, kind: str) -> None:
    project_id, made = project_with_program(api)
    parcel = next_parcel(api)
    answered(api, parcel, GARBAGE[kind](parcel))
    (call,) = calls_of(api, made)
    assert (call["state"], call["failure"], call["labels"]) == ("failed", "garbage", 0), call
    assert 0 < len(call["detail"]) < 200
    assert call["detail"].isprintable()
    assert labels_of(api, project_id) == []
    now = shown(api, made)
    assert (now["failures"], now["labels_used"], now["cost_used"]) == (1, 0, 0)
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["examples"]["leased"] == 0


def test_garbage_is_told_where_it_is(api: Api) -> None:
    _, made = project_with_program(api)
    parcel = next_parcel(api)
    answered(api, parcel, _labels([right(ids_in(parcel)[0]), {**right(ids_in(parcel)[1]), "source": "human"}]))
    (call,) = calls_of(api, made)
    assert call["detail"] == "The answer is no body of labels at /labels/1/source: There is no such field."


def test_one_example_it_was_not_given_spoils_its_answer(api: Api) -> None:
    project_id, made = project_with_program(api)
    parcel = next_parcel(api)
    foreign = next(f"e{n}" for n in range(12) if f"e{n}" not in ids_in(parcel))
    answered(api, parcel, _labels([*(right(one) for one in ids_in(parcel)), right(foreign)]))
    (call,) = calls_of(api, made)
    assert (call["state"], call["failure"]) == ("failed", "foreign_examples")
    assert foreign not in call["detail"]
    assert labels_of(api, project_id) == []


def test_too_large_an_answer_is_not_read_to_its_end(near: Api) -> None:
    async def scenario() -> None:
        async with receiver() as server:
            server.say = lambda *_: ("200 OK", b'{"labels": [' + b" " * 3_000_000 + b"]}")
            _, made = project_with_program(near, url=server.url)
            asked(near)
            asked(near)
            async with sending(near.runtime):
                await until(lambda: calls_of(near, made)[0]["state"] == "failed")
        assert calls_of(near, made)[0]["failure"] == "garbage"

    run(scenario)


@pytest.mark.parametrize(("kind", "failure"), [("slow", "timeout"), ("closed", "refused"), ("broken", "status")])
def test_passing_failures_are_tried_again_under_one_id_and_then_named(near: Api, kind: str, failure: str) -> None:
    async def scenario() -> None:
        async with receiver("500 Oops", silent=kind == "slow") as server:
            url = "http://127.0.0.1:9/" if kind == "closed" else server.url
            project_id, made = project_with_program(near, url=url)
            asked(near)
            asked(near)
            limits = {"webhook_timeout_seconds": 0.5 if kind == "slow" else PATIENCE_SECONDS}
            hasty = replace(near.runtime, settings=near.runtime.settings.model_copy(update=limits))
            async with sending(hasty):
                for attempt in range(1, len(RETRIES) + 2):
                    await until(partial(was_attempted, near, made, attempt))
                    hurry(near.runtime)
                await until(lambda: calls_of(near, made)[0]["state"] == "failed")
            assert len({one.headers["webhook-id"] for one in server.received}) <= 1
        (call,) = calls_of(near, made)
        assert call["failure"] == failure
        assert labels_of(near, project_id) == []

    run(scenario)


def was_attempted(api: Api, made: dict[str, Any], times: int) -> bool:
    with api.runtime.database.read() as session:
        return len(deliveries.attempts(session, [calls_of(api, made)[0]["delivery_id"]])) == times


def test_gone_stops_it_at_once(api: Api) -> None:
    _, made = project_with_program(api)
    answered(api, next_parcel(api), b"", status=410)
    step(api)
    now = shown(api, made)
    assert (now["state"], now["stopped_reason"]) == ("stopped", "failures")
    assert calls_of(api, made)[0]["failure"] == "status"


def test_failures_in_a_row_stop_it_ever_more_slowly(api: Api) -> None:
    project_id, made = project_with_program(api)
    for count in range(1, MOST_FAILURES + 1):
        step(api)
        (parcel,) = sent(api)
        answered(api, parcel, b"?")
        assert shown(api, made)["failures"] == count
        step(api)
        assert sent(api) == []
        wait(api, 6 * 2**count)
    step(api)
    now = shown(api, made)
    assert (now["state"], now["stopped_reason"]) == ("stopped", "failures")
    assert sent(api) == []
    assert api.http.patch(path_of(made), json={"state": "active"}).json()["failures"] == 0
    parcel = next_parcel(api)
    answered(api, parcel, labels_for(parcel))
    assert len(labels_of(api, project_id)) == 5


def test_a_budget_of_labels_is_never_exceeded(api: Api) -> None:
    project_id, made = project_with_program(api, max_labels=7, lease_seconds=60)
    silent = next_parcel(api)
    answered(api, silent, b"", status=202)
    wait(api, 61)
    step(api)
    wait(api, 70)
    step(api)
    (parcel,) = sent(api)
    answered(api, parcel, labels_for(parcel))
    late = post_labels(api, project_id, later_rows(silent, ids=[*ids_in(silent)]), params={"mode": "partial"})
    assert late.json()["created"] <= 2
    assert {error["code"] for error in late.json()["errors"]} <= {"budget_used_up"}
    wait(api, 200)
    step(api)
    for parcel in sent(api):
        assert len(ids_in(parcel)) <= 2
        answered(api, parcel, labels_for(parcel))
    wait(api, 300)
    step(api)
    now = shown(api, made)
    assert (now["labels_used"], now["state"], now["stopped_reason"]) == (7, "stopped", "budget_labels")
    assert len(labels_of(api, project_id)) == 7
    assert api.http.patch(path_of(made), json={"state": "active"}).status_code == 409
    more = api.http.patch(path_of(made), json={"state": "active", "max_labels": 8})
    assert (more.status_code, more.json()["state"]) == (200, "active")


def test_a_label_in_place_of_a_skip_counts(api: Api) -> None:
    project_id, made = project_with_program(api, max_labels=3, batch_size=3)
    first = next_parcel(api)
    answered(api, first, orjson.dumps({"labels": [{"example_id": one, "skip": True} for one in ids_in(first)]}))
    second = next_parcel(api)
    assert shown(api, made)["labels_used"] == 0
    instead = post_labels(api, project_id, later_rows(first, ids_in(first)[:2])).json()
    assert (instead["updated"], shown(api, made)["labels_used"]) == (2, 2)
    answered(api, second, b"", status=202)
    more = post_labels(api, project_id, [*later_rows(second), *later_rows(first)], params={"mode": "partial"}).json()
    assert (more["created"] + more["updated"], more["unchanged"], more["rejected"]) == (1, 2, 3)
    assert {error["code"] for error in more["errors"]} == {"budget_used_up"}
    assert (shown(api, made)["labels_used"], counts(api, project_id)["labels"]["automated"]) == (3, 3)


def test_a_budget_of_cost_stops_it(api: Api) -> None:
    _, made = project_with_program(api, max_cost=1.0)
    parcel = next_parcel(api)
    answered(api, parcel, labels_for(parcel, cost=1.5))
    step(api)
    now = shown(api, made)
    assert (now["cost_used"], now["state"], now["stopped_reason"]) == (1.5, "stopped", "budget_cost")
    assert sent(api) == []
    assert api.http.patch(path_of(made), json={"state": "active"}).status_code == 409


def test_an_example_that_was_deleted_meanwhile_is_left_out(api: Api) -> None:
    project_id, made = project_with_program(api)
    parcel = next_parcel(api)
    api.http.delete(f"/v1/projects/{project_id}/examples/{ids_in(parcel)[0]}")
    answered(api, parcel, labels_for(parcel))
    assert len(labels_of(api, project_id)) == 4
    assert calls_of(api, made)[0]["labels"] == 4


def test_a_batch_that_cannot_be_made_is_a_failure_of_its_own(api: Api) -> None:
    _, made = project_with_program(api)
    with api.runtime.database.write() as session:  # nobody rings it
        calls.advance(session, settings=api.runtime.settings, now=utc_now())
    job_id = calls_of(api, made)[0]["job_id"]
    assert api.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    wait(api, 5)
    step(api)
    (call,) = calls_of(api, made)
    assert (call["state"], call["failure"]) == ("failed", "query")


def test_data_that_is_too_large_to_be_sent_is_left_to_be_fetched(api: Api) -> None:
    text = {"features": {"type": "text", "field": "text"}}
    project_id = api.project(annotation={"automatic": True}, retraining={"automatic": False}, **text)
    rows = [{"id": f"e{n}", "data": {"text": "x" * 300_000}} for n in range(4)]
    assert api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows}).status_code == 200
    create(api, project_id)
    parcel = next_parcel(api)
    assert len(parcel.body) < 20_000
    assert [item["data"] for item in batch_in(parcel)["items"]] == [None] * 4
    fetched = api.http.get(f"/v1/jobs/{batch_in(parcel)['job_id']}/batch").json()
    assert all(len(item["data"]["text"]) == 300_000 for item in fetched["items"])
