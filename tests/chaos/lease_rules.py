"""What is promised of leases: which are live follows from the batches and from what ended or prolonged them."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.evidence import (
    SKIP,
    Effect,
    Severity,
    Violation,
    Write,
    answer_writes,
    batches,
    calls,
    effects,
    overlap_of,
    seconds,
    values,
)
from tests.chaos.history import Record


@dataclass(frozen=True)
class Grant:
    """A lease, as its batch promised it."""

    job_id: str
    example_id: str
    annotator: str
    at: float
    until: float


class Leases:
    """The leases of a project at any moment; of a call that nobody answered both outcomes are possible."""

    def __init__(self, records: list[Record]) -> None:
        self.overlap = overlap_of(records)
        self.batches = batches(records)
        self.grants: dict[str, list[Grant]] = defaultdict(list)
        self.answers: dict[str, dict[str, list[Write]]] = defaultdict(dict)
        self._changes: dict[str, list[Effect]] = defaultdict(list)
        for job_id, batch in self.batches.items():
            for grant in _grants(job_id, batch):
                self.grants[grant.example_id].append(grant)
        for (example_id, annotator), writes in answer_writes(records).items():
            self.answers[example_id][annotator] = writes
        for effect in effects(records, "renew", "release"):
            self._changes[effect.body["job_id"]].append(effect)

    def surely_live(self, grant: Grant, at: float, *, but: str = "") -> bool:
        """Whether nothing but the call `but` can have ended the lease."""
        return grant.at < at < self._least_until(grant, at, but) and not self._perhaps_ended(grant, at, but)

    def perhaps_there(self, grant: Grant, *, begun: float, at: float) -> bool:
        """Whether the lease may have been kept, live or not, at a moment between `begun` and `at`."""
        return grant.at < at and not self._surely_ended(grant, begun)

    def perhaps_live(self, grant: Grant, *, begun: float, at: float, but: str) -> bool:
        """Whether the lease may have been live at a moment between `begun` and `at`."""
        return self.perhaps_there(grant, begun=begun, at=at) and begun < self._most_until(grant, at, but)

    def holders(self, example_id: str, at: float) -> set[str]:
        """To whom the example surely was promised."""
        return {grant.annotator for grant in self.grants[example_id] if self.surely_live(grant, at)}

    def labelled(self, example_id: str, at: float) -> set[str]:
        """Whose label of the example was surely there."""
        return {name for name, seen in self._seen(example_id, at).items() if not seen & {None, SKIP}}

    def skipped(self, example_id: str, at: float) -> set[str]:
        """Who surely had skipped the example."""
        return {name for name, seen in self._seen(example_id, at).items() if seen == {SKIP}}

    def _seen(self, example_id: str, at: float) -> dict[str, set[Any]]:
        return {name: values(writes, begun=at, at=at) for name, writes in self.answers[example_id].items()}

    def _renewals(self, grant: Grant, at: float, but: str) -> list[Effect]:
        return [
            effect
            for effect in self._changes[grant.job_id]
            if "lease_seconds" in effect.body and effect.begun < at and effect.key != but
        ]

    def _least_until(self, grant: Grant, at: float, but: str) -> float:
        """When the lease runs out at the earliest: it can be renewed for a shorter time, too."""
        until, doubted = grant.until, math.inf
        for renewal in self._renewals(grant, at, but):
            renewed: float = renewal.begun + renewal.body["lease_seconds"]
            if renewal.ended > at:
                doubted = min(doubted, renewed)
            else:
                until = renewed if renewal.ended < min(until, doubted) else min(until, renewed)
        return min(until, doubted)

    def _most_until(self, grant: Grant, at: float, but: str) -> float:
        """When it runs out at the latest."""
        until = grant.until
        for renewal in self._renewals(grant, at, but):
            until = max(until, renewal.ended + renewal.body["lease_seconds"])
        return until

    def _ends(self, grant: Grant) -> Iterator[tuple[str | None, Write]]:
        """What ends the lease for certain if it takes effect: a release and its key, a newer lease, an answer."""
        for effect in self._changes[grant.job_id]:
            ids = effect.body.get("example_ids")
            if "lease_seconds" not in effect.body and (ids is None or grant.example_id in ids):
                yield effect.key, Write(None, effect.begun, effect.ended)
        for other in self.grants[grant.example_id]:
            if other.annotator == grant.annotator and other.at > grant.at:
                yield None, Write(None, other.at, other.at)
        for annotator, writes in self.answers[grant.example_id].items():
            if annotator == grant.annotator or self.overlap == 1:
                yield from ((None, write) for write in writes)

    def _surely_ended(self, grant: Grant, at: float) -> bool:
        return any(end.begun >= grant.at and end.ended <= at for _, end in self._ends(grant))

    def _perhaps_ended(self, grant: Grant, at: float, but: str) -> bool:
        if any(end.begun <= at and end.ended > grant.at and key != but for key, end in self._ends(grant)):
            return True
        return len(self._perhaps_labelled(grant.example_id, at)) >= self.overlap

    def _perhaps_labelled(self, example_id: str, at: float) -> set[str]:
        """Who may have labelled the example: with enough labels, every lease of it ends."""
        named = self.answers[example_id].items()
        return {name for name, writes in named if any(one.begun <= at and one.value != SKIP for one in writes)}


def _grants(job_id: str, batch: Any) -> Iterator[Grant]:
    if batch["lease"] is not None:
        at, until = seconds(batch["created_at"]), seconds(batch["lease"]["expires_at"])
        for item in batch["items"]:
            yield Grant(job_id, item["example_id"], batch["lease"]["annotator"], at, until)


def leases_never_exceed_overlap(records: list[Record]) -> Iterator[Violation]:
    """An example is promised to no more annotators than still are to answer, and to nobody who has."""
    leases = Leases(records)
    for job_id, batch in leases.batches.items():
        at = seconds(batch["created_at"])
        own = batch["lease"]["annotator"] if batch["lease"] else None
        for example_id, count in Counter(item["example_id"] for item in batch["items"]).items():
            if count > 1:
                yield Violation("duplicated", "lease", f"{job_id} offers {example_id} {count} times")
            labelled, skipped = leases.labelled(example_id, at), leases.skipped(example_id, at)
            if own in labelled | skipped or len(labelled) >= leases.overlap or (leases.overlap == 1 and skipped):
                yield Violation("wrong", "lease", f"{job_id} offers {example_id} to {own} although it was answered")
            others = {
                g.annotator for g in leases.grants[example_id] if g.annotator != own and leases.surely_live(g, at)
            }
            if len(labelled | others) >= leases.overlap > len(labelled):
                holders = ", ".join(sorted(others))
                yield Violation("duplicated", "lease", f"{job_id} offers {example_id} to {own}, as to {holders}")


def lease_calls_change_what_is_live(records: list[Record]) -> Iterator[Violation]:
    """A call that prolongs or ends the leases of a batch finds each that is live, and none that is another's by now."""
    leases = Leases(records)
    for call, answer in calls(records, "renew", "release"):
        if answer is None:
            continue
        job_id, ids = call["body"]["job_id"], call["body"].get("example_ids")
        grants = [g for g in _grants(job_id, leases.batches[job_id]) if ids is None or g.example_id in ids]
        key, begun, at = call["key"], call["at"], answer["at"]
        least = sum(grant.at <= begun and leases.surely_live(grant, at, but=key) for grant in grants)
        if call["op"] == "renew":
            most = sum(leases.perhaps_live(grant, begun=begun, at=at, but=key) for grant in grants)
        else:
            most = sum(leases.perhaps_there(grant, begun=begun, at=at) for grant in grants)
        changed = answer["answer"].get("changed", 0)
        if not least <= changed <= most:
            severity: Severity = "lost" if changed < least else "duplicated"
            yield Violation(severity, "lease", f"{key} changed {changed} leases of {job_id}, not {least} to {most}")
