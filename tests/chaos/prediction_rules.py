"""What is promised of uploaded predictions: each is in one version, which takes no more once it may serve."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from tests.chaos import points
from tests.chaos.evidence import Effect, Violation, Write, batches, effects, of
from tests.chaos.history import Record


class Versions:
    """What the versions of a model may say, by what was sent, and what they say in the end."""

    def __init__(self, records: list[Record]) -> None:
        self.uploads = effects(records, "predictions")
        self.batches = batches(records)
        self.closed: dict[int, float] = {}  # when a version had been activated for certain, and took no more
        self.read = {record["version"]: self.said(record["job_id"]) for record in of(records, "read")}
        self._writes: dict[tuple[int | None, str], list[Write]] = defaultdict(list)
        for effect in effects(records, "activation"):
            version = effect.body["version"]
            self.closed[version] = min(effect.ended, self.closed.get(version, math.inf))
        for upload in self.uploads:
            for row in upload.body["rows"]:
                write = Write(row["number"], upload.begun, upload.ended)
                self._writes[version_of(upload), row["id"]].append(write)

    def said(self, job_id: str) -> Counter[tuple[str, int]]:
        """What a batch says of its examples, each with its number."""
        items = self.batches[job_id]["items"] if job_id in self.batches else []
        return Counter((item["example_id"], points.number_of(item["prediction"])) for item in items)

    def right(self, version: int, example_id: str) -> set[Any]:
        """What a version that has served may say of an example; None: nothing.

        What nobody acknowledged may be in any version.
        """
        closed = self.closed.get(version, math.inf)
        perhaps = {write.value for write in self._writes.get((None, example_id), ()) if write.begun < closed}
        told = self._writes.get((version, example_id))
        return perhaps | {max(told, key=lambda write: write.ended).value if told else None}

    def examples(self, version: int) -> set[str]:
        """Of which something was sent for certain."""
        return {example_id for told, example_id in self._writes if told == version}


def version_of(upload: Effect) -> int | None:
    """Where an upload is, as its answer told."""
    version: int | None = upload.answer["model_version"] if upload.answered else None
    return version


def versions_are_kept(records: list[Record]) -> Iterator[Violation]:
    """Each version that was told of is there, and no other is, but for those of uploads that nobody acknowledged."""
    versions = Versions(records)
    told = {version_of(upload) for upload in versions.uploads if upload.answered}
    unanswered = sum(not upload.answered for upload in versions.uploads)
    found = versions.read.keys()
    yield from (Violation("lost", "version", f"version {each} is gone") for each in told - found)
    if len(found - told) > unanswered:
        yield Violation("duplicated", "version", f"nobody was told of the versions {sorted(found - told)}")
    if not of(records, "read_all"):
        yield Violation("lost", "run", "the versions were not read")


def predictions_are_kept(records: list[Record]) -> Iterator[Violation]:
    """In the end each version says of each example what was acknowledged, once."""
    versions = Versions(records)
    for version, said in versions.read.items():
        counts = Counter(example_id for example_id, _ in said.elements())
        twice = (example_id for example_id, count in counts.items() if count > 1)
        yield from (Violation("duplicated", "predictions", f"{each} is in version {version} twice") for each in twice)
        for example_id in versions.examples(version) - counts.keys():
            if None not in (right := versions.right(version, example_id)):
                yield Violation("lost", "predictions", f"{right} of {example_id} is not in version {version}")


def what_serves_never_changes(records: list[Record]) -> Iterator[Violation]:
    """Every batch says what was in its version when that was activated."""
    versions = Versions(records)
    for job_id, batch in versions.batches.items():
        if batch["model"] is None:
            continue
        version = batch["model"]["version"]
        for example_id, number in versions.said(job_id):
            if number not in (right := versions.right(version, example_id)):
                detail = f"{job_id}: version {version} says {number} of {example_id}, not {right}"
                yield Violation("wrong", "predictions", detail)


def closed_versions_take_no_more(records: list[Record]) -> Iterator[Violation]:
    """What is sent after an activation goes into another version."""
    versions = Versions(records)
    for upload in versions.uploads:
        version = version_of(upload)
        if version in versions.closed and versions.closed[version] < upload.begun:
            yield Violation("wrong", "version", f"{upload.key} went into version {version}, which had been activated")


def uploads_are_counted(records: list[Record]) -> Iterator[Violation]:
    """The answer counts each row once: as created when it is the first of its example in the version, else updated."""
    seen: set[tuple[int | None, str]] = set()
    for upload in effects(records, "predictions"):
        if upload.answered:
            places = {(version_of(upload), row["id"]) for row in upload.body["rows"]}
            right = {"received": len(places), "created": len(places - seen), "updated": len(places & seen)}
            right |= {"unchanged": 0, "rejected": 0}
            told = {name: upload.answer[name] for name in right}
            if told != right:
                yield Violation("wrong", "predictions", f"{upload.key}: {told} are told, {right} are right")
            seen |= places


def unanswered_predictions_are_whole(records: list[Record]) -> Iterator[Violation]:
    """An upload that nobody acknowledged is in one version with all its rows, or nowhere."""
    versions = Versions(records)
    for upload in versions.uploads:
        if upload.answered:
            continue
        rows = {(row["id"], row["number"]) for row in upload.body["rows"]}  # whoever gives up never sends them again
        kept = {version: len(rows & said.keys()) for version, said in versions.read.items() if rows & said.keys()}
        if len(kept) > 1:
            yield Violation("duplicated", "predictions", f"the unanswered {upload.key} is in the versions {[*kept]}")
        for version, count in kept.items():
            if count < len(rows):
                detail = f"of {len(rows)} rows of the unanswered {upload.key} {count} are in version {version}"
                yield Violation("wrong", "predictions", detail)


def versions_never_change(records: list[Record]) -> Iterator[Violation]:
    """What is told of a version is the same whenever it is read."""
    known: dict[int, Any] = {}
    for record in of(records, "version"):
        first = known.setdefault(record["version"], record["told"])
        if first != record["told"]:
            yield Violation("wrong", "version", f"version {record['version']} was {first}, then {record['told']}")
