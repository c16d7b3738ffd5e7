"""The checker finds each kind of broken promise in a history made by hand: one that cannot fail proves nothing."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.checker import check
from tests.chaos.history import Record

DONE = {"state": "succeeded", "finished_at": "2026-01-01T00:00:06+00:00", "attempts": 1, "error": None, "result": None}


def call(at: float, op: str, key: str, body: Any, answer: Any, *, status: int = 200) -> list[Record]:
    """A call that took a second."""
    shared = {"op": op, "key": key, "path": f"/{op}", "body": body}
    return [
        {"what": "call", "at": at, **shared},
        {"what": "answer", "at": at + 1, "begun": at, "status": status, "answer": answer, "replayed": False, **shared},
    ]


def label(at: float, key: str, value: str) -> list[Record]:
    return call(at, "label", key, {"labels": [{"example_id": "e1", "label": value, "annotator": "ann"}]}, {})


def batch(job_id: str, annotator: str, begin: int) -> Record:
    lease = {"annotator": annotator, "expires_at": f"2026-01-01T00:00:{begin + 5:02}Z"}
    body = {"created_at": f"2026-01-01T00:00:{begin:02}Z", "lease": lease, "items": [{"example_id": "e2"}]}
    return {"what": "batch", "at": 50.0, "job_id": job_id, "etag": job_id, "body": json.dumps(body)}


def export(begun: float, rows: list[tuple[str, str]], *, final: bool = False) -> Record:
    labels = [[example, "ann", value, "2026"] for example, value in rows]
    return {"what": "export", "at": begun + 1, "begun": begun, "labels": labels, "final": final}


def good() -> list[Record]:
    """A short run in which all went well."""
    counts = {"examples": {"total": 2, "labeled": 1}, "labels": {"total": 1}, "labels_since_model": 0}
    model = {"what": "model", "at": 91.0, "labels_used": 1, "metrics": {}, "predictions": [0.5]}
    return [
        *call(1, "upload", "k1", {"examples": [{"id": "e1"}, {"id": "e2"}]}, {"created": 2}),
        *label(10, "k2", "a"),
        *label(20, "k3", "b"),
        {"what": "attempt", "at": 20.5, "key": "k3", "status": 503, "retry": True},
        *call(30, "query", "k4", {}, {"id": "job_1"}, status=202),
        *call(32, "query", "k5", {}, {"id": "job_2"}, status=202),
        {"what": "delivery", "at": 40.0, "id": "d1", "type": "query.succeeded", "job_id": "job_1", "status": 500},
        {"what": "delivery", "at": 45.0, "id": "d1", "type": "query.succeeded", "job_id": "job_1", "status": 204},
        {"what": "delivery", "at": 45.0, "id": "d2", "type": "query.succeeded", "job_id": "job_2", "status": 204},
        batch("job_1", "ann", 10),
        batch("job_2", "ben", 15),
        {"what": "delivered", "at": 60.0},
        {"what": "job", "at": 61.0, "id": "job_1", "kind": "query", "told": DONE},
        {"what": "job", "at": 61.0, "id": "job_2", "kind": "query", "told": DONE},
        export(70, [("e1", "b")]),
        {"what": "final", "at": 80.0, "project": {"counts": counts}, "examples": ["e1", "e2"]},
        export(90, [("e1", "b")], final=True),
        {**model, "whose": "disturbed"},
        {**model, "whose": "undisturbed"},
    ]


def test_a_good_run_breaks_nothing() -> None:
    assert check(good()) == []


def test_a_label_under_way_may_be_in_an_export_or_not() -> None:
    for value in ("a", "b"):
        assert check([*good(), export(20.2, [("e1", value)])]) == []


def first(records: list[Record], what: str, **fields: Any) -> Record:
    return next(r for r in records if r["what"] == what and all(r.get(name) == fields[name] for name in fields))


def drop(what: str, **fields: Any) -> Callable[[list[Record]], None]:
    return lambda records: records.remove(first(records, what, **fields))


def change(what: str, where: dict[str, Any], **fields: Any) -> Callable[[list[Record]], None]:
    return lambda records: first(records, what, **where).update(fields)


def add(*more: Record) -> Callable[[list[Record]], None]:
    return lambda records: records.extend(more)


def _unfinished(records: list[Record]) -> None:
    first(records, "job")["told"] = {**DONE, "state": "running"}


def _counted(records: list[Record]) -> None:
    first(records, "final")["project"]["counts"]["labels"]["total"] = 2


def _waiting(records: list[Record]) -> None:
    first(records, "final")["project"]["counts"]["labels_since_model"] = 1


REPLAY = call(50, "replay", "k4", {}, {"id": "job_9"}, status=202)
MANY = {"what": "job", "at": 61.0, "id": "job_3", "kind": "query", "told": DONE}
OTHER_END = {"what": "job", "at": 99.0, "id": "job_1", "kind": "query", "told": {**DONE, "state": "cancelled"}}
OTHER_ID = {"what": "delivery", "at": 46.0, "id": "d3", "type": "query.succeeded", "job_id": "job_2", "status": 204}
LATE_OFFER = {"created_at": "2026-01-01T00:01:00Z", "lease": None, "items": [{"example_id": "e1"}]}

BROKEN = {
    "a label is missing": ("lost", "export", change("export", {}, labels=[])),
    "an old value came back": ("wrong", "export", change("export", {}, labels=[["e1", "ann", "a", "2026"]])),
    "a label is there twice": ("duplicated", "export", add(export(90, [("e1", "b"), ("e1", "b")]))),
    "nobody gave a label": ("wrong", "export", add(export(90, [("e1", "b"), ("e2", "b")]))),
    "a call has no answer": ("lost", "answer", drop("answer", key="k3")),
    "a call was refused": ("wrong", "answer", change("answer", {"key": "k3"}, status=422)),
    "an attempt met a fault": ("wrong", "status", change("attempt", {}, status=500)),
    "no Retry-After": ("wrong", "status", change("attempt", {}, retry=False)),
    "an example is missing": ("lost", "upload", change("final", {}, examples=["e1"])),
    "an example came from nowhere": ("wrong", "upload", change("final", {}, examples=["e1", "e2", "e3"])),
    "an example is there twice": ("duplicated", "upload", change("final", {}, examples=["e1", "e2", "e2"])),
    "a job is gone": ("lost", "job", drop("job", id="job_1")),
    "a job has not ended": ("lost", "job", _unfinished),
    "a job failed": ("wrong", "job", change("job", {}, told={**DONE, "state": "failed"})),
    "one request made two jobs": ("duplicated", "job", add(MANY)),
    "a job ended twice": ("wrong", "terminal", add(OTHER_END)),
    "a batch changed": ("wrong", "batch", add({**batch("job_1", "ann", 11)})),
    "two leases at once": (
        "duplicated",
        "lease",
        change("batch", {"job_id": "job_2"}, body=batch("", "b", 14)["body"]),
    ),
    "a labelled example is offered": (
        "wrong",
        "lease",
        change("batch", {"job_id": "job_2"}, body=json.dumps(LATE_OFFER)),
    ),
    "a replay differs": ("wrong", "replay", add(*REPLAY)),
    "an event never came": ("lost", "webhook", drop("delivery", id="d2")),
    "deliveries are not made": ("lost", "webhook", drop("delivered")),
    "an event has two ids": ("duplicated", "webhook", add(OTHER_ID)),
    "the model is old": ("lost", "model", change("model", {"whose": "disturbed"}, labels_used=0)),
    "the model is another": ("wrong", "model", change("model", {"whose": "undisturbed"}, predictions=[0.4])),
    "there is no model": ("lost", "model", drop("model", whose="disturbed")),
    "a label waits for a model": ("lost", "model", _waiting),
    "a count is wrong": ("wrong", "counts", _counted),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_found(name: str) -> None:
    severity, rule, break_it = BROKEN[name]
    records = copy.deepcopy(good())
    break_it(records)
    assert (severity, rule) in {(violation.severity, violation.rule) for violation in check(records)}
