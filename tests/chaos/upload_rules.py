"""What is promised of uploads: each is kept once, as a whole, and never seen by halves."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.chaos.evidence import Violation, Write, effects, labelled_rows, of, values
from tests.chaos.history import Record


def uploads_are_kept_once(records: list[Record]) -> Iterator[Violation]:
    """Each uploaded example is in the pool once, as it was uploaded last, and no other is."""
    writes = _editions(records)
    for final in of(records, "final"):
        counts = Counter(example_id for example_id, _ in final["examples"])
        yield from (Violation("duplicated", "upload", each) for each, count in counts.items() if count > 1)
        yield from (Violation("wrong", "upload", f"nobody sent {each}") for each in sorted(counts.keys() - writes))
        found = dict(final["examples"])
        for example_id, history in writes.items():
            yield from _compare(example_id, found.get(example_id), history, begun=final["begun"], at=final["at"])


def _editions(records: list[Record]) -> dict[str, list[Write]]:
    """By example the editions that were uploaded of it."""
    writes: dict[str, list[Write]] = defaultdict(list)
    for effect in effects(records, "upload"):
        for row in effect.body["examples"]:
            writes[row["id"]].append(Write(row["edition"], effect.begun, effect.ended))
    return writes


def _compare(
    example_id: str, edition: int | None, history: list[Write], *, begun: float, at: float
) -> Iterator[Violation]:
    right = values(history, begun=begun, at=at)
    if edition is None and None not in right:
        yield Violation("lost", "upload", f"{example_id} is missing")
    elif edition not in right:
        yield Violation("wrong", "upload", f"{example_id} is edition {edition}, not {right}")


def unanswered_uploads_are_whole(records: list[Record]) -> Iterator[Violation]:
    """At the end an upload that nobody acknowledged is there with all its rows or with none."""
    for final in of(records, "final"):
        found = dict(final["examples"])
        for upload in effects(records, "upload"):
            kept = sum(found.get(row["id"]) == row["edition"] for row in upload.body["examples"])
            # whoever gives an upload up never sends its examples again
            if not upload.answered and 0 < kept < len(upload.body["examples"]):
                rows = len(upload.body["examples"])
                yield Violation("wrong", "upload", f"of {rows} rows of the unanswered {upload.key} {kept} are there")


def looks_see_whole_uploads(records: list[Record]) -> Iterator[Violation]:
    """Whoever reads examples sees what was acknowledged, and with one new example of an upload all of them."""
    writes, created = _editions(records), _creators(records)
    seen = [(created[one[0]], *one) for look in of(records, "look") for one in look["seen"]]
    since: dict[str, float] = {}
    for upload, _, _, told, edition in seen:
        if edition is not None:
            since[upload] = min(told, since.get(upload, told))
    for upload, example_id, asked, told, edition in seen:
        yield from _compare(example_id, edition, writes[example_id], begun=asked, at=told)
        if edition is None and since.get(upload, asked) < asked:
            yield Violation("wrong", "upload", f"{example_id} is not there, others of {upload} are")


def _creators(records: list[Record]) -> dict[str, str]:
    """By example the key of the upload that it came with first; who sends it again, knows that it is there."""
    created: dict[str, str] = {}
    for effect in effects(records, "upload"):
        for row in effect.body["examples"]:
            created.setdefault(row["id"], effect.key)
    return created


def labels_of_an_upload_come_together(records: list[Record]) -> Iterator[Violation]:
    """The labels that came with the new examples of an upload are in an export all together or not at all."""
    created = _creators(records)
    uploads = {
        effect.key: {(row["id"], row["annotator"]) for row in labelled_rows(effect) if created[row["id"]] == effect.key}
        for effect in effects(records, "upload")
    }
    for export in of(records, "export"):
        found = {(example, annotator) for example, annotator, *_ in export["labels"]}
        for key, pairs in uploads.items():
            if found & pairs and pairs - found:
                yield Violation("wrong", "upload", f"{len(found & pairs)} of {len(pairs)} labels of {key} are exported")
