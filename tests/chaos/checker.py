"""Reads a history and says what was lost, doubled or wrong. It asks nobody: it can be run again on a kept file."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tests.chaos.history import Record

Severity = Literal["lost", "duplicated", "wrong"]
ENDED = {"succeeded", "failed", "cancelled"}


@dataclass(frozen=True)
class Violation:
    """A broken promise."""

    severity: Severity
    rule: str
    detail: str


@dataclass(frozen=True)
class _Write:
    """A call that gave an example a label; it took effect between `begun` and `ended`, or never if it has no end."""

    value: str
    begun: float
    ended: float


def check(records: list[Record]) -> list[Violation]:
    """Every broken promise of a run."""
    return [violation for rule in RULES for violation in rule(records)]


def exports_hold_every_label(records: list[Record]) -> Iterator[Violation]:
    """Each export holds the last acknowledged value of each example and annotator, once, and nothing else.

    A label that was being written while the export was made may be in it or not.
    """
    writes = _label_writes(records)
    for export in _of(records, "export"):
        counts = Counter((example, annotator) for example, annotator, *_ in export["labels"])
        found = {(example, annotator): value for example, annotator, value, _ in export["labels"]}
        for key, count in counts.items():
            if count > 1:
                yield Violation("duplicated", "export", f"{key} is in an export {count} times")
            if key not in writes:
                yield Violation("wrong", "export", f"nobody labelled {key}")
        for key, history in writes.items():
            yield from _compare(key, found.get(key), history, export)


def _compare(key: tuple[str, str], value: str | None, history: list[_Write], export: Record) -> Iterator[Violation]:
    before = [write for write in history if write.ended <= export["begun"]]
    last = max(before, key=lambda write: write.ended, default=None)
    since = last.begun if last else 0.0
    perhaps = {
        write.value for write in history if write.ended > export["begun"] and since <= write.begun < export["at"]
    }
    if value is None and last is not None:
        yield Violation("lost", "export", f"the label {last.value} of {key} is missing")
    elif value is not None and value not in perhaps | ({last.value} if last else set()):
        yield Violation("wrong", "export", f"{key} is {value}, not {last.value if last else perhaps}")


def _label_writes(records: list[Record]) -> dict[tuple[str, str], list[_Write]]:
    answered = {record["key"]: record for record in _of(records, "answer") if record["op"] == "label"}
    writes: dict[tuple[str, str], list[_Write]] = defaultdict(list)
    for call in _of(records, "call"):
        answer = answered.get(call["key"])
        if call["op"] != "label" or (answer is not None and answer["status"] != 200):
            continue
        for row in call["body"]["labels"]:
            write = _Write(row["label"], call["at"], answer["at"] if answer else float("inf"))
            writes[row["example_id"], row["annotator"]].append(write)
    return writes


def every_call_is_answered_well(records: list[Record]) -> Iterator[Violation]:
    """A client that goes on asking gets an answer, which is no error; on the way only 503, 429 and 409 are honest."""
    answers = Counter(record["key"] for record in _of(records, "answer"))
    for call in _of(records, "call"):
        if not answers[call["key"]]:
            yield Violation("lost", "answer", f"{call['op']} {call['key']} was never answered")
    for answer in _of(records, "answer"):
        if not 200 <= answer["status"] < 300:
            yield Violation("wrong", "answer", f"{answer['op']} {answer['key']}: {answer['status']} {answer['answer']}")
    for attempt in _of(records, "attempt"):
        status = attempt.get("status")
        if status is not None and (status not in {409, 429, 503, 507} or not attempt["retry"]):
            yield Violation("wrong", "status", f"{attempt.get('key') or attempt.get('path')}: {status}")


def uploads_are_kept_once(records: list[Record]) -> Iterator[Violation]:
    """Each uploaded example is in the pool, once, and no other."""
    for final in _of(records, "final"):
        there: Counter[str] = Counter(final["examples"])
        uploads = [record for record in _of(records, "answer") if record["op"] == "upload" and record["status"] == 200]
        sent = {row["id"] for upload in uploads for row in upload["body"]["examples"]}
        asked = {
            row["id"] for call in _of(records, "call") if call["op"] == "upload" for row in call["body"]["examples"]
        }
        yield from (Violation("lost", "upload", f"{each} is missing") for each in sorted(sent - set(there)))
        yield from (Violation("wrong", "upload", f"nobody sent {each}") for each in sorted(set(there) - asked))
        yield from (Violation("duplicated", "upload", each) for each, count in there.items() if count > 1)


def every_job_ends_well(records: list[Record]) -> Iterator[Violation]:
    """Each accepted job has ended, as succeeded; and a request accepted once has made one job."""
    states = {job["id"]: job for job in _of(records, "job")}
    accepted = {
        answer["answer"]["id"]: answer["op"]
        for answer in _of(records, "answer")
        if answer["op"] in {"query", "training"} and answer["status"] == 202
    }
    called = sum(1 for call in _of(records, "call") if call["op"] == "query")
    for job_id, kind in accepted.items():
        if job_id not in states or states[job_id]["told"]["state"] not in ENDED:
            yield Violation("lost", "job", f"the {kind} {job_id} has not ended")
    for job_id, job in states.items():
        if job["told"]["state"] == "failed":
            yield Violation("wrong", "job", f"the {job['kind']} {job_id} failed: {job['told']['error']}")
    queries = {job_id for job_id, job in states.items() if job["kind"] == "query"}
    unanswered = called - sum(1 for kind in accepted.values() if kind == "query")
    if len(queries - accepted.keys()) > unanswered:
        yield Violation("duplicated", "job", f"{len(queries)} queries were made by {called} requests")


def ends_never_change(records: list[Record]) -> Iterator[Violation]:
    """An ended job, and a batch, is the same whenever it is read."""
    jobs: dict[str, Any] = {}
    for job in _of(records, "job"):
        if job["told"]["state"] in ENDED and jobs.setdefault(job["id"], job["told"]) != job["told"]:
            yield Violation("wrong", "terminal", f"{job['id']} was {jobs[job['id']]}, then {job['told']}")
    seen: dict[str, Any] = {}
    for batch in _of(records, "batch"):
        told = (batch["etag"], batch["body"])
        if seen.setdefault(batch["job_id"], told) != told:
            yield Violation("wrong", "batch", f"the batch of {batch['job_id']} changed")


def leases_never_overlap(records: list[Record]) -> Iterator[Violation]:
    """No example is promised to two annotators at once, nor to anybody after its label was acknowledged."""
    labelled = {
        example_id: min(write.ended for key, group in writes.items() if key[0] == example_id for write in group)
        for writes in [_label_writes(records)]
        for example_id in {example for example, _ in writes}
    }
    leases: dict[str, list[tuple[float, float, str, str]]] = defaultdict(list)
    asked = {answer["answer"]["id"]: answer["begun"] for answer in _of(records, "answer") if answer["op"] == "query"}
    for job_id, batch in _batches(records).items():
        for item in batch["items"]:
            example_id = item["example_id"]
            if labelled.get(example_id, float("inf")) < asked.get(job_id, 0.0):
                yield Violation(
                    "wrong", "lease", f"{job_id} offers {example_id}, which was labelled before it was asked"
                )
            if batch["lease"] is not None:
                span = (_seconds(batch["created_at"]), _seconds(batch["lease"]["expires_at"]))
                leases[example_id].append((*span, batch["lease"]["annotator"], job_id))
    for example_id, held in leases.items():
        yield from _overlaps(example_id, sorted(held))


def _overlaps(example_id: str, held: list[tuple[float, float, str, str]]) -> Iterator[Violation]:
    for place, (_, until, annotator, job_id) in enumerate(held):
        for begin, _, other, other_job in held[place + 1 :]:
            if other != annotator and begin < until:
                yield Violation("duplicated", "lease", f"{example_id} is in {job_id} and in {other_job} at once")


def _batches(records: list[Record]) -> dict[str, Any]:
    return {batch["job_id"]: json.loads(batch["body"]) for batch in _of(records, "batch")}


def replays_are_equal(records: list[Record]) -> Iterator[Violation]:
    """A key sent again gets the first answer."""
    first: dict[str, Record] = {}
    for answer in _of(records, "answer"):
        known = first.setdefault(answer["key"], answer)
        same = (known["status"], known["answer"]) == (answer["status"], answer["answer"])
        if known is not answer and not (same and answer["replayed"]):
            yield Violation("wrong", "replay", f"{answer['key']}: {known['answer']}, then {answer['answer']}")


def every_event_arrives(records: list[Record]) -> Iterator[Violation]:
    """For each ended query and training an event arrives, and its id is the same in every attempt."""
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    taken: set[tuple[str, str]] = set()
    for delivery in _of(records, "delivery"):
        event = (delivery["type"], delivery["job_id"])
        ids[event].add(delivery["id"])
        if delivery["status"] == 204:
            taken.add(event)
    if not _of(records, "delivered"):
        yield Violation("lost", "webhook", "the deliveries were not all made in time")
    ended = {job["id"]: job for job in _of(records, "job") if job["told"]["state"] in {"succeeded", "failed"}}
    for job_id, job in ended.items():
        event = (f"{job['kind']}.{job['told']['state']}", job_id)
        if job["kind"] in {"query", "training"} and event not in taken:
            yield Violation("lost", "webhook", f"{event} never arrived")
    for event, found in ids.items():
        if len(found) > 1:
            yield Violation("duplicated", "webhook", f"{event} came under {len(found)} ids")


def the_last_model_is_right(records: list[Record]) -> Iterator[Violation]:
    """The last model has learnt every label, and is the one that an undisturbed run makes of them."""
    models = {model["whose"]: model for model in _of(records, "model")}
    if set(models) != {"disturbed", "undisturbed"}:
        yield Violation("lost", "model", f"only {sorted(models)} were trained")
        return
    names = ("labels_used", "metrics", "predictions")
    for name in names:
        if models["disturbed"][name] != models["undisturbed"][name]:
            yield Violation("wrong", "model", f"{name} is not that of the undisturbed run")
    for export in (export for export in _of(records, "export") if export["final"]):
        labelled = len({example for example, *_ in export["labels"]})
        if models["disturbed"]["labels_used"] != labelled:
            used = models["disturbed"]["labels_used"]
            yield Violation("lost", "model", f"the last model used {used} of {labelled} labelled examples")


def counts_are_right(records: list[Record]) -> Iterator[Violation]:
    """The project counts what the export holds, and no label waits for a model."""
    exports = [export for export in _of(records, "export") if export["final"]]
    for final, export in zip(_of(records, "final"), exports, strict=True):
        counts = final["project"]["counts"]
        told = (counts["examples"]["total"], counts["examples"]["labeled"], counts["labels"]["total"])
        labelled = len({example for example, *_ in export["labels"]})
        real = (len(final["examples"]), labelled, len(export["labels"]))
        if told != real:
            yield Violation("wrong", "counts", f"{told} are told of examples, labelled, labels; there are {real}")
        if counts["labels_since_model"]:
            yield Violation("lost", "model", f"{counts['labels_since_model']} labels wait for a training")
    if not exports:
        yield Violation("lost", "run", "it did not come to its end")


RULES: tuple[Callable[[list[Record]], Iterator[Violation]], ...] = (
    exports_hold_every_label,
    every_call_is_answered_well,
    uploads_are_kept_once,
    every_job_ends_well,
    ends_never_change,
    leases_never_overlap,
    replays_are_equal,
    every_event_arrives,
    the_last_model_is_right,
    counts_are_right,
)


def _of(records: list[Record], what: str) -> list[Record]:
    return [record for record in records if record["what"] == what]


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
