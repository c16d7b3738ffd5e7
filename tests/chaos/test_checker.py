"""The checker finds each kind of broken promise in a history made by hand: one that cannot fail proves nothing."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.checker import check
from tests.chaos.evidence import SKIP
from tests.chaos.history import Record
from tests.chaos.points import prediction

DONE = {"state": "succeeded", "finished_at": "1970-01-01T00:00:36+00:00", "attempts": 1, "error": None, "result": None}


def call(at: float, op: str, key: str, body: Any, answer: Any, *, status: int = 200) -> list[Record]:
    """A call that took a second."""
    shared = {"project": "p", "op": op, "key": key}
    return [
        {"what": "call", "at": at, **shared, "body": body},
        {"what": "answer", "at": at + 1, **shared, "status": status, "answer": answer, "replayed": False},
    ]


def unanswered(at: float, op: str, key: str, body: Any) -> list[Record]:
    """A call that was given up."""
    (asked, _) = call(at, op, key, body, None)
    return [asked, {"what": "given_up", "at": at + 1, "project": "p", "key": key}]


def label(at: float, key: str, value: str, *, who: str = "ann", example: str = "e1") -> list[Record]:
    what = {"skip": True} if value == SKIP else {"label": value}
    return call(at, "label", key, {"labels": [{"example_id": example, "annotator": who, **what}]}, {})


def uploaded(*ids: str, edition: int = 0, **more: str) -> dict[str, Any]:
    return {"examples": [{"id": each, "edition": edition, **more} for each in ids]}


def renew(at: float, key: str, seconds: int, changed: int) -> list[Record]:
    return call(at, "renew", key, {"job_id": "job_1", "lease_seconds": seconds}, {"changed": changed})


def release(at: float, key: str, changed: int, ids: list[str] | None = None) -> list[Record]:
    body = {"job_id": "job_1"} if ids is None else {"job_id": "job_1", "example_ids": ids}
    return call(at, "release", key, body, {"changed": changed})


def time(at: float) -> str:
    return f"1970-01-01T00:{int(at) // 60:02}:{int(at) % 60:02}Z"


def batch(job_id: str, annotator: str | None, at: float, *ids: str, lasts: float = 5, candidates: int = 9) -> Record:
    lease = None if annotator is None else {"annotator": annotator, "expires_at": time(at + lasts)}
    items = [{"example_id": each} for each in ids]
    body = {"created_at": time(at), "lease": lease, "items": items, "pool": {"candidates": candidates}}
    return {"what": "batch", "project": "p", "at": 99.0, "job_id": job_id, "etag": job_id, "body": json.dumps(body)}


def export(begun: float, rows: list[tuple[str, str]], *, final: bool = False) -> Record:
    labels = [[example, "ann", value, "2026"] for example, value in rows]
    return {"what": "export", "project": "p", "at": begun + 1, "begun": begun, "labels": labels, "final": final}


def look(*seen: tuple[str, float, int | None]) -> Record:
    told = [[example_id, asked, asked + 1, edition] for example_id, asked, edition in seen]
    return {"what": "look", "project": "p", "at": 99.0, "seen": told}


def delivery(at: float, key: str, job_id: str, status: int) -> Record:
    shared = {"what": "delivery", "project": "p", "type": "query.succeeded"}
    return {**shared, "at": at, "id": key, "job_id": job_id, "status": status}


def good(overlap: int = 1) -> list[Record]:
    """A short run in which all went well: e1 is labelled, e5 skipped, and the rest is open."""
    counts = {"examples": {"total": 6, "labeled": 1, "skipped": int(overlap == 1)}, "labels": {"total": 1}}
    model = {"what": "model", "project": "p", "at": 91.0, "labels_used": 1, "metrics": {}, "predictions": [0.5]}
    jobs = ("job_1", "job_2", "job_9")
    return [
        {"what": "project", "at": 0.0, "project": "p", "overlap": overlap, "own_model": False},
        *call(1, "upload", "k1", uploaded("e1", "e2", "e3", "e4"), {"created": 4}),
        *call(3, "upload", "k2", uploaded("e5", "e6"), {"created": 2}),
        *call(5, "upload", "k3", uploaded("e4", edition=1), {"updated": 1}),
        *label(10, "k4", "a"),
        *label(20, "k5", "b"),
        {"what": "attempt", "at": 20.5, "project": "p", "key": "k5", "status": 503, "retry": True},
        *label(22, "k6", SKIP, example="e5"),
        *call(30, "query", "k7", {}, {"id": "job_1"}, status=202),
        *call(32, "query", "k8", {}, {"id": "job_2"}, status=202),
        batch("job_1", "ann", 31, "e2", "e3"),
        batch("job_2", "ben", 40, "e2"),
        delivery(40, "d1", "job_1", 500),
        delivery(45, "d1", "job_1", 204),
        delivery(45, "d2", "job_2", 204),
        look(("e5", 2, None), ("e5", 50, 0), ("e6", 51, 0)),
        export(70, [("e1", "b"), ("e5", SKIP)]),
        *call(75, "query", "k9", {}, {"id": "job_9"}, status=202),
        batch("job_9", None, 76, "e2", candidates=4 if overlap == 1 else 6),
        delivery(77, "d9", "job_9", 204),
        {"what": "delivered", "at": 80.0},
        *({"what": "job", "at": 81.0, "project": "p", "id": job, "kind": "query", "told": DONE} for job in jobs),
        {
            "what": "final",
            "project": "p",
            "begun": 82.0,
            "at": 83.0,
            "counts": {**counts, "labels_since_model": 0},
            "examples": [["e1", 0], ["e2", 0], ["e3", 0], ["e4", 1], ["e5", 0], ["e6", 0]],
            "offer": "job_9",
        },
        export(90, [("e1", "b"), ("e5", SKIP)], final=True),
        {**model, "whose": "disturbed"},
        {**model, "whose": "undisturbed"},
    ]


@pytest.mark.parametrize("overlap", [1, 3])
def test_a_good_run_breaks_nothing(overlap: int) -> None:
    assert check(good(overlap)) == []


def test_a_label_under_way_may_be_in_an_export_or_not() -> None:
    for value in ("a", "b"):
        assert check([*good(), export(20.2, [("e1", value)])]) == []


@pytest.mark.parametrize("there", [True, False])
def test_an_unanswered_upload_may_be_there_or_not(there: bool) -> None:  # noqa: FBT001 - pytest passes it so
    records = [*good(), *unanswered(60, "upload", "u1", uploaded("e7", "e8"))]
    if there:
        first(records, "final")["examples"] += [["e7", 0], ["e8", 0]]
        first(records, "final")["counts"]["examples"]["total"] += 2
        change_offer(records, candidates=6)
    assert check(records) == []


GIVEN = {"example_id": "e2", "annotator": "ann", "label": "a"}

# Nothing of it is wrong: the example is free again, or might be.
FREED = {
    "it was given back": release(32, "r1", 2),
    "it was given back alone": release(32, "r1", 1, ["e2"]),
    "it was perhaps given back": unanswered(32, "release", "r1", {"job_id": "job_1"}),
    "it was renewed for a shorter time": renew(32, "r1", 1, 2),
    "it was perhaps renewed for a shorter time": unanswered(32, "renew", "r1", {"job_id": "job_1", "lease_seconds": 1}),
    "a newer batch of its holder kept it for a shorter time": [batch("job_2b", "ann", 32, "e2", lasts=1)],
    "its answer was under way": unanswered(32, "label", "r1", {"labels": [GIVEN]}),
}


@pytest.mark.parametrize("name", FREED)
def test_an_example_that_may_be_free_may_be_given_to_another(name: str) -> None:
    rules = {violation.rule for violation in check([*good(), *FREED[name], batch("job_3", "cyd", 35, "e2")])}
    assert "lease" not in rules


def test_a_lease_that_was_perhaps_renewed_counts_or_not() -> None:
    perhaps = unanswered(33, "renew", "r1", {"job_id": "job_1", "lease_seconds": 9})
    for changed in (0, 2):
        assert check([*good(), *perhaps, *renew(38, "r2", 1, changed)]) == []


def first(records: list[Record], what: str, **fields: Any) -> Record:
    return next(r for r in records if r["what"] == what and all(r.get(name) == fields[name] for name in fields))


def drop(what: str, **fields: Any) -> Callable[[list[Record]], None]:
    return lambda records: records.remove(first(records, what, **fields))


def change(what: str, where: dict[str, Any], **fields: Any) -> Callable[[list[Record]], None]:
    return lambda records: first(records, what, **where).update(fields)


def add(*more: Record) -> Callable[[list[Record]], None]:
    return lambda records: records.extend(more)


def change_offer(records: list[Record], *, candidates: int = 4, example: str = "e2") -> None:
    new = batch("job_9", None, 76, example, candidates=candidates)
    first(records, "batch", job_id="job_9").update(body=new["body"])


def offers(**fields: Any) -> Callable[[list[Record]], None]:
    return lambda records: change_offer(records, **fields)


def offered(job_id: str, annotator: str, at: float, *ids: str, **fields: Any) -> Callable[[list[Record]], None]:
    """Give a batch another content."""
    return lambda records: records.append(batch(job_id, annotator, at, *ids, **fields))


def _unfinished(records: list[Record]) -> None:
    first(records, "job")["told"] = {**DONE, "state": "running"}


def _counted(name: str, kind: str) -> Callable[[list[Record]], None]:
    def count(records: list[Record]) -> None:
        first(records, "final")["counts"][name][kind] += 1

    return count


def _waiting(records: list[Record]) -> None:
    first(records, "final")["counts"]["labels_since_model"] = 1


def _pool(*examples: tuple[str, int]) -> Callable[[list[Record]], None]:
    """Another pool at the end."""
    whole = {"e1": 0, "e2": 0, "e3": 0, "e4": 1, "e5": 0, "e6": 0}
    return change("final", {}, examples=[[*each] for each in (examples or whole.items())])


ALL = (("e1", 0), ("e2", 0), ("e3", 0), ("e4", 1), ("e5", 0), ("e6", 0))
REPLAY = call(50, "replay", "k7", {}, {"id": "job_8"}, status=202)
MANY = {"what": "job", "project": "p", "at": 61.0, "id": "job_3", "kind": "query", "told": DONE}
OTHER_END = {**MANY, "at": 99.0, "id": "job_1", "told": {**DONE, "state": "cancelled"}}
LOST_UPLOAD = unanswered(60, "upload", "u1", uploaded("e7", "e4", edition=2))
LABELLED_UPLOAD = call(60, "upload", "u2", uploaded("e7", "e8", label="a", annotator="ann"), {})
LABELS = [("e1", "b"), ("e5", SKIP)]

BROKEN: dict[str, tuple[Any, ...]] = {
    "a label is missing": ("lost", "export", change("export", {}, labels=[])),
    "an old value came back": ("wrong", "export", add(export(90, [("e1", "a"), LABELS[1]]))),
    "a label is there twice": ("duplicated", "export", add(export(90, [*LABELS, LABELS[0]]))),
    "nobody gave a label": ("wrong", "export", add(export(90, [*LABELS, ("e2", "b")]))),
    "a skip is missing": ("lost", "export", add(export(90, LABELS[:1]))),
    "a skip became a label": ("wrong", "export", add(export(90, [LABELS[0], ("e5", "b")]))),
    "a call has no answer": ("lost", "answer", drop("answer", key="k5")),
    "a call was refused": ("wrong", "answer", change("answer", {"key": "k5"}, status=422)),
    "an attempt met a fault": ("wrong", "status", change("attempt", {}, status=500)),
    "no Retry-After": ("wrong", "status", change("attempt", {}, retry=False)),
    "an example is missing": ("lost", "upload", _pool(*ALL[1:])),
    "an example came from nowhere": ("wrong", "upload", _pool(*ALL, ("e9", 0))),
    "an example is there twice": ("duplicated", "upload", _pool(*ALL, ALL[1])),
    "an old edition came back": ("wrong", "upload", _pool(*ALL[:3], ("e4", 0), *ALL[4:])),
    "half an upload is seen": ("wrong", "upload", add(look(("e5", 3.1, 0), ("e6", 4.2, None)))),
    "an acknowledged upload is not seen": ("lost", "upload", add(look(("e6", 50, None)))),
    "an acknowledged change is not seen": ("wrong", "upload", add(look(("e4", 50, 0)))),
    "half an unanswered upload stays": ("wrong", "upload", add(*LOST_UPLOAD), _pool(*ALL, ("e7", 2))),
    "half an upload's labels are exported": (
        "wrong",
        "upload",
        add(*LABELLED_UPLOAD, export(60.1, [*LABELS, ("e7", "a")])),
    ),
    "a job is gone": ("lost", "job", drop("job", id="job_1")),
    "a job has not ended": ("lost", "job", _unfinished),
    "a job failed": ("wrong", "job", change("job", {}, told={**DONE, "state": "failed"})),
    "one request made two jobs": ("duplicated", "job", add(MANY)),
    "a job ended twice": ("wrong", "terminal", add(OTHER_END)),
    "a batch changed": ("wrong", "batch", offered("job_1", "ann", 31, "e2")),
    "an example is twice in a batch": ("duplicated", "lease", offered("job_3", "cyd", 60, "e2", "e2")),
    "two leases at once": ("duplicated", "lease", offered("job_3", "cyd", 35, "e2")),
    "a labelled example is offered": ("wrong", "lease", offered("job_3", "cyd", 60, "e1")),
    "a skipped example is offered": ("wrong", "lease", offered("job_3", "cyd", 60, "e5")),
    "a renewed lease did not last": (
        "duplicated",
        "lease",
        add(*renew(32, "r1", 9, 2)),
        offered("job_3", "c", 38, "e3"),
    ),
    "a lease that was not given back is another's": (
        "duplicated",
        "lease",
        add(*release(32, "r1", 1, ["e2"])),
        offered("job_3", "cyd", 35, "e3"),
    ),
    "a live lease was not renewed": ("lost", "lease", add(*renew(32, "r1", 9, 1))),
    "no live lease was found": (
        "lost",
        "lease",
        add(*call(32, "renew", "r1", {"job_id": "job_1", "lease_seconds": 9}, {}, status=409)),
    ),
    "a lease that ran out was renewed": ("duplicated", "lease", add(*renew(50, "r1", 9, 1))),
    "a lease was given back twice": ("duplicated", "lease", add(*release(32, "r1", 2), *release(34, "r2", 1))),
    "a labelled example's lease was renewed": (
        "duplicated",
        "lease",
        add(*label(32, "l1", "a", example="e2"), *renew(34, "r1", 9, 2)),
    ),
    "a skipped example's lease was renewed": (
        "duplicated",
        "lease",
        add(*label(32, "l1", SKIP, example="e2"), *renew(34, "r1", 9, 2)),
    ),
    "an older batch kept its lease beside a newer one": (
        "duplicated",
        "lease",
        offered("job_3", "ann", 33, "e2"),
        add(*renew(34, "r1", 9, 2)),
    ),
    "a replay differs": ("wrong", "replay", add(*REPLAY)),
    "an event never came": ("lost", "webhook", drop("delivery", id="d2")),
    "deliveries are not made": ("lost", "webhook", drop("delivered")),
    "an event has two ids": ("duplicated", "webhook", add(delivery(46, "d3", "job_2", 204))),
    "the model is old": ("lost", "model", change("model", {"whose": "disturbed"}, labels_used=0)),
    "the model is another": ("wrong", "model", change("model", {"whose": "undisturbed"}, predictions=[0.4])),
    "there is no model": ("lost", "model", drop("model", whose="disturbed")),
    "a label waits for a model": ("lost", "model", _waiting),
    "labels are miscounted": ("wrong", "counts", _counted("labels", "total")),
    "skips are miscounted": ("wrong", "counts", _counted("examples", "skipped")),
    "an open example cannot be picked": ("lost", "pool", offers(candidates=3)),
    "a labelled example can be picked": ("wrong", "pool", offers(example="e1")),
    "a skipped example can be picked": ("wrong", "pool", offers(example="e5")),
    "nobody could ask": ("lost", "pool", drop("batch", job_id="job_9")),
    "the run did not end": ("lost", "run", drop("export", final=True), drop("final")),
    "the run did not begin": ("lost", "run", drop("project")),
}

# With an overlap of 3: e2 is promised to ann until 36 already, and e1 has her label.
SHARED: dict[str, tuple[Any, ...]] = {
    "a fourth lease": (
        "duplicated",
        "lease",
        offered("job_3", "cyd", 33, "e3"),
        offered("job_4", "dan", 33, "e3"),
        offered("job_5", "eve", 34, "e3"),
    ),
    "a third lease beside a label": (
        "duplicated",
        "lease",
        offered("job_3", "cyd", 33, "e1"),
        offered("job_4", "dan", 33, "e1"),
        offered("job_5", "eve", 34, "e1"),
    ),
    "a fourth answer is asked for": (
        "wrong",
        "lease",
        add(*label(40, "l1", "a", who="ben"), *label(42, "l2", "a", who="cyd")),
        offered("job_3", "dan", 50, "e1"),
    ),
    "the same annotator is asked again": ("wrong", "lease", offered("job_3", "ann", 50, "e1")),
    "the same annotator is asked again after a skip": ("wrong", "lease", offered("job_3", "ann", 50, "e5")),
    "a skip of one took it from all": ("lost", "pool", offers(candidates=5)),
}


def breaks(records: list[Record], severity: str, rule: str, *steps: Callable[[list[Record]], None]) -> bool:
    """Whether the checker finds such a violation once the steps are done."""
    records = copy.deepcopy(records)
    for step in steps:
        step(records)
    return (severity, rule) in {(violation.severity, violation.rule) for violation in check(records)}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_found(name: str) -> None:
    assert breaks(good(), *BROKEN[name])


@pytest.mark.parametrize("name", SHARED)
def test_a_broken_promise_among_several_annotators_is_found(name: str) -> None:
    assert breaks(good(3), *SHARED[name])


@pytest.mark.parametrize("name", SHARED)
def test_without_its_last_step_it_is_no_broken_promise(name: str) -> None:
    severity, rule, *steps = SHARED[name]
    assert not breaks(good(3), severity, rule, *steps[:-1])


def counted(version: int, *, created: int, updated: int) -> dict[str, int]:
    """What is answered to an upload of predictions."""
    counts = {"received": created + updated, "created": created, "updated": updated, "unchanged": 0, "rejected": 0}
    return {**counts, "model_version": version}


def sent(**numbers: int) -> dict[str, Any]:
    return {"rows": [{"id": each, "number": number} for each, number in numbers.items()]}


def said(at: float, key: str, version: int, *, created: int = 0, **numbers: int) -> list[Record]:
    """Predictions of examples, which went into a version."""
    answer = counted(version, created=created, updated=len(numbers) - created)
    return call(at, "predictions", key, sent(**numbers), answer)


def activated(at: float, key: str, version: int) -> list[Record]:
    return call(at, "activation", key, {"version": version}, {"version": version})


def serving(job_id: str, version: int, *said: tuple[str, int]) -> Record:
    """A batch of what a version says."""
    items = [{"example_id": each, "prediction": {"probabilities": prediction(number)}} for each, number in said]
    body = {"model": {"version": version}, "items": items}
    return {"what": "batch", "project": "p", "at": 99.0, "job_id": job_id, "etag": job_id, "body": json.dumps(body)}


def told_of(version: int, *, labels_used: int = 0) -> Record:
    return {"what": "version", "project": "p", "at": 99.0, "version": version, "told": {"labels_used": labels_used}}


def read(version: int, job_id: str) -> Record:
    return {"what": "read", "project": "p", "at": 99.0, "version": version, "job_id": job_id}


FIRST, SECOND = (("e1", 3), ("e2", 2)), (("e1", 4),)


def good_owner() -> list[Record]:
    """A short run in which all went well: version 1 serves from 20 on, and what comes then is version 2."""
    return [
        {"what": "project", "at": 0.0, "project": "p", "overlap": 1, "own_model": True},
        *said(1, "k1", 1, created=2, e1=1, e2=2),
        *said(3, "k2", 1, e1=3),
        *activated(20, "k3", 1),
        *call(25, "query", "k4", {}, {"id": "job_1"}, status=202),
        serving("job_1", 1, *FIRST[:1]),
        *said(30, "k5", 2, created=1, e1=4),
        *(told_of(1), told_of(2), told_of(1)),
        *activated(60, "k6", 1),
        *call(62, "query", "k7", {}, {"id": "job_2"}, status=202),
        *(serving("job_2", 1, *FIRST), read(1, "job_2")),
        *activated(64, "k8", 2),
        *call(66, "query", "k9", {}, {"id": "job_3"}, status=202),
        *(serving("job_3", 2, *SECOND), read(2, "job_3")),
        {"what": "read_all", "at": 70.0, "project": "p"},
        *({**MANY, "id": job} for job in ("job_1", "job_2", "job_3")),
    ]


def reads(job_id: str, version: int, *said: tuple[str, int]) -> Callable[[list[Record]], None]:
    """Let a version say something else."""
    return change("batch", {"job_id": job_id}, body=serving(job_id, version, *said)["body"])


def test_a_good_run_of_an_owner_breaks_nothing() -> None:
    assert check(good_owner()) == []


UNANSWERED = unanswered(5, "predictions", "u1", sent(e7=5, e8=6))
WHOLE = (("e7", 5), ("e8", 6))
POSSIBLE: dict[str, tuple[Callable[[list[Record]], None], ...]] = {
    "an unanswered upload is nowhere": (add(*UNANSWERED),),
    "an unanswered upload is in a version": (add(*UNANSWERED), reads("job_2", 1, *FIRST, *WHOLE)),
    "it is in a later version": (add(*UNANSWERED), reads("job_3", 2, *SECOND, *WHOLE)),
    "it is in a version of its own": (
        add(*UNANSWERED, *activated(67, "k10", 3), serving("job_4", 3, *WHOLE), read(3, "job_4")),
    ),
    "an upload under way was too late for its version": (
        add(*said(19.5, "k10", 2, created=1, e2=7)),
        reads("job_3", 2, *SECOND, ("e2", 7)),
    ),
    "an upload under way was in time": (add(*said(19.5, "k10", 1, e2=7)), reads("job_2", 1, FIRST[0], ("e2", 7))),
}


@pytest.mark.parametrize("name", POSSIBLE)
def test_what_may_be_in_a_version_may_be_there(name: str) -> None:
    records = good_owner()
    for step in POSSIBLE[name]:
        step(records)
    assert check(records) == []


OWNERS_BROKEN: dict[str, tuple[Any, ...]] = {
    "a prediction is missing": ("lost", "predictions", reads("job_2", 1, FIRST[0])),
    "an old prediction came back": ("wrong", "predictions", reads("job_2", 1, ("e1", 1), FIRST[1])),
    "nobody sent a prediction": ("wrong", "predictions", reads("job_2", 1, *FIRST, ("e9", 1))),
    "a prediction is there twice": ("duplicated", "predictions", reads("job_2", 1, *FIRST, FIRST[1])),
    "a later prediction is in a closed version": ("wrong", "predictions", reads("job_2", 1, ("e1", 4), FIRST[1])),
    "a batch says what its version does not": ("wrong", "predictions", reads("job_1", 1, ("e1", 1))),
    "an upload that was just in time is missing": ("wrong", "predictions", add(*said(19.5, "k10", 1, e2=7))),
    "an upload that came after an activation is there": (
        "wrong",
        "predictions",
        add(*unanswered(61, "predictions", "u1", sent(e7=5))),
        reads("job_2", 1, *FIRST, ("e7", 5)),
    ),
    "an upload went into a closed version": ("wrong", "version", add(*said(40, "k10", 1, e1=9))),
    "a row is counted twice": (
        "wrong",
        "predictions",
        change("answer", {"key": "k5"}, answer=counted(2, created=2, updated=0)),
    ),
    "an update is counted as new": (
        "wrong",
        "predictions",
        change("answer", {"key": "k2"}, answer=counted(1, created=1, updated=0)),
    ),
    "half an unanswered upload is there": (
        "wrong",
        "predictions",
        add(*UNANSWERED),
        reads("job_2", 1, *FIRST, WHOLE[0]),
    ),
    "an unanswered upload is in two versions": (
        "duplicated",
        "predictions",
        add(*UNANSWERED),
        reads("job_2", 1, *FIRST, *WHOLE),
        reads("job_3", 2, *SECOND, *WHOLE),
    ),
    "a version is gone": ("lost", "version", drop("read", version=2)),
    "a version came from nowhere": ("duplicated", "version", add(read(3, "job_3"))),
    "a version says nothing": ("lost", "predictions", drop("batch", job_id="job_3")),
    "a version changed": ("wrong", "version", add(told_of(1, labels_used=7))),
    "a replay differs": ("wrong", "replay", add(*call(50, "replay", "k5", {}, {"model_version": 3}))),
    "an upload was refused": ("wrong", "answer", change("answer", {"key": "k5"}, status=409)),
    "a job failed": ("wrong", "job", change("job", {}, told={**DONE, "state": "failed"})),
    "the versions were not read": ("lost", "run", drop("read_all")),
}


@pytest.mark.parametrize("name", OWNERS_BROKEN)
def test_a_broken_promise_to_an_owner_is_found(name: str) -> None:
    assert breaks(good_owner(), *OWNERS_BROKEN[name])
