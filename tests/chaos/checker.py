"""Reads a history and says what was lost, doubled or wrong. It asks nobody: it can be run again on a kept file."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from tests.chaos.evidence import Violation, of, tally
from tests.chaos.history import Record
from tests.chaos.label_rules import counts_are_right, exports_hold_every_answer, the_pool_offers_what_is_open
from tests.chaos.lease_rules import lease_calls_change_what_is_live, leases_never_exceed_overlap
from tests.chaos.prediction_rules import (
    closed_versions_take_no_more,
    predictions_are_kept,
    unanswered_predictions_are_whole,
    uploads_are_counted,
    versions_are_kept,
    versions_never_change,
    what_serves_never_changes,
)
from tests.chaos.upload_rules import (
    labels_of_an_upload_come_together,
    looks_see_whole_uploads,
    unanswered_uploads_are_whole,
    uploads_are_kept_once,
)

ENDED = {"succeeded", "failed", "cancelled"}


def check(records: list[Record]) -> list[Violation]:
    """Every broken promise of a run, project by project."""
    projects = {record["project"]: OWNERS_RULES if record["own_model"] else RULES for record in of(records, "project")}
    if not projects:
        return [Violation("lost", "run", "it did not come to its beginning")]
    return [
        violation
        for project, rules in projects.items()
        for rule in rules
        for violation in rule(_only(records, project))
    ]


def _only(records: list[Record], project: str) -> list[Record]:
    """What concerns a project, and what concerns all."""
    return [record for record in records if record.get("project", project) == project]


def every_call_is_answered_well(records: list[Record]) -> Iterator[Violation]:
    """A client that goes on asking gets an answer, which is no error; on the way only 503, 429 and 409 are honest.

    A batch whose leases have all ended cannot be renewed, and says so.
    """
    settled = {record["key"] for record in records if record["what"] in {"answer", "given_up"}}
    for call in of(records, "call"):
        if call["key"] not in settled:
            yield Violation("lost", "answer", f"{call['op']} {call['key']} was never answered")
    for answer in of(records, "answer"):
        honest = 200 <= answer["status"] < 300 or (answer["op"] == "renew" and answer["status"] == 409)
        if not honest:
            yield Violation("wrong", "answer", f"{answer['op']} {answer['key']}: {answer['status']} {answer['answer']}")
    for attempt in of(records, "attempt"):
        status = attempt.get("status")
        if status is not None and (status not in {409, 429, 503, 507} or not attempt["retry"]):
            yield Violation("wrong", "status", f"{attempt.get('key') or attempt.get('path')}: {status}")


def every_job_ends_well(records: list[Record]) -> Iterator[Violation]:
    """Each accepted job has ended, as succeeded; and a request accepted once has made one job."""
    states = {job["id"]: job for job in of(records, "job")}
    accepted = {
        answer["answer"]["id"]: answer["op"]
        for answer in of(records, "answer")
        if answer["op"] in {"query", "training"} and answer["status"] == 202
    }
    called = sum(1 for call in of(records, "call") if call["op"] == "query")
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
    for job in of(records, "job"):
        if job["told"]["state"] in ENDED and jobs.setdefault(job["id"], job["told"]) != job["told"]:
            yield Violation("wrong", "terminal", f"{job['id']} was {jobs[job['id']]}, then {job['told']}")
    seen: dict[str, Any] = {}
    for batch in of(records, "batch"):
        told = (batch["etag"], batch["body"])
        if seen.setdefault(batch["job_id"], told) != told:
            yield Violation("wrong", "batch", f"the batch of {batch['job_id']} changed")


def replays_are_equal(records: list[Record]) -> Iterator[Violation]:
    """A key sent again gets the first answer."""
    first: dict[str, Record] = {}
    for answer in of(records, "answer"):
        known = first.setdefault(answer["key"], answer)
        same = (known["status"], known["answer"]) == (answer["status"], answer["answer"])
        if known is not answer and not (same and answer["replayed"]):
            yield Violation("wrong", "replay", f"{answer['key']}: {known['answer']}, then {answer['answer']}")


def every_event_arrives(records: list[Record]) -> Iterator[Violation]:
    """For each ended query and training an event arrives, and its id is the same in every attempt."""
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    taken: set[tuple[str, str]] = set()
    for delivery in of(records, "delivery"):
        event = (delivery["type"], delivery["job_id"])
        ids[event].add(delivery["id"])
        if delivery["status"] == 204:
            taken.add(event)
    if not of(records, "delivered"):
        yield Violation("lost", "webhook", "the deliveries were not all made in time")
    ended = {job["id"]: job for job in of(records, "job") if job["told"]["state"] in {"succeeded", "failed"}}
    for job_id, job in ended.items():
        event = (f"{job['kind']}.{job['told']['state']}", job_id)
        if job["kind"] in {"query", "training"} and event not in taken:
            yield Violation("lost", "webhook", f"{event} never arrived")
    for event, found in ids.items():
        if len(found) > 1:
            yield Violation("duplicated", "webhook", f"{event} came under {len(found)} ids")


def the_last_model_is_right(records: list[Record]) -> Iterator[Violation]:
    """The last model has learnt every label, and is the one that an undisturbed run makes of them."""
    models = {model["whose"]: model for model in of(records, "model")}
    if set(models) != {"disturbed", "undisturbed"}:
        yield Violation("lost", "model", f"only {sorted(models)} were trained")
        return
    names = ("labels_used", "metrics", "predictions")
    for name in names:
        if models["disturbed"][name] != models["undisturbed"][name]:
            yield Violation("wrong", "model", f"{name} is not that of the undisturbed run")
    for export in (export for export in of(records, "export") if export["final"]):
        labels, _ = tally(export)
        if models["disturbed"]["labels_used"] != len(labels):
            used = models["disturbed"]["labels_used"]
            yield Violation("lost", "model", f"the last model used {used} of {len(labels)} labelled examples")


Rule = Callable[[list[Record]], Iterator[Violation]]
RULES: tuple[Rule, ...] = (
    exports_hold_every_answer,
    every_call_is_answered_well,
    uploads_are_kept_once,
    unanswered_uploads_are_whole,
    looks_see_whole_uploads,
    labels_of_an_upload_come_together,
    every_job_ends_well,
    ends_never_change,
    leases_never_exceed_overlap,
    lease_calls_change_what_is_live,
    replays_are_equal,
    every_event_arrives,
    the_last_model_is_right,
    counts_are_right,
    the_pool_offers_what_is_open,
)
OWNERS_RULES: tuple[Rule, ...] = (
    every_call_is_answered_well,
    every_job_ends_well,
    ends_never_change,
    replays_are_equal,
    versions_are_kept,
    versions_never_change,
    predictions_are_kept,
    what_serves_never_changes,
    closed_versions_take_no_more,
    uploads_are_counted,
    unanswered_predictions_are_whole,
)
