"""What is promised of labels and skips, and of who may still be asked."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.chaos.evidence import Pair, Violation, Write, answer_writes, batches, of, overlap_of, tally, values
from tests.chaos.history import Record


def exports_hold_every_answer(records: list[Record]) -> Iterator[Violation]:
    """Each export holds the last acknowledged answer of each example and annotator, once, and nothing else.

    An answer that was being written while the export was made may be in it or not.
    """
    writes = answer_writes(records)
    for export in of(records, "export"):
        counts = Counter((example, annotator) for example, annotator, *_ in export["labels"])
        found = {(example, annotator): value for example, annotator, value, _ in export["labels"]}
        for key, count in counts.items():
            if count > 1:
                yield Violation("duplicated", "export", f"{key} is in an export {count} times")
            if key not in writes:
                yield Violation("wrong", "export", f"nobody labelled {key}")
        for key, history in writes.items():
            yield from _compare(key, found.get(key), history, export)


def _compare(key: Pair, value: str | None, history: Sequence[Write], export: Record) -> Iterator[Violation]:
    right = values(history, begun=export["begun"], at=export["at"])
    if value is None and None not in right:
        yield Violation("lost", "export", f"the label {right} of {key} is missing")
    elif value not in right:
        yield Violation("wrong", "export", f"{key} is {value}, not {right}")


def counts_are_right(records: list[Record]) -> Iterator[Violation]:
    """The project counts what the export holds, and no label waits for a model."""
    overlap = overlap_of(records)
    exports = [export for export in of(records, "export") if export["final"]]
    for final, export in zip(of(records, "final"), exports, strict=True):
        counts = final["counts"]
        told = (*(counts["examples"][name] for name in ("total", "labeled", "skipped")), counts["labels"]["total"])
        labels, skips = tally(export)
        skipped = len(skips.keys() - labels.keys()) if overlap == 1 else 0
        real = (len(final["examples"]), len(labels), skipped, labels.total())
        if told != real:
            yield Violation("wrong", "counts", f"{told} are told of examples, labelled, skipped, labels; {real} are")
        if counts["labels_since_model"]:
            yield Violation("lost", "model", f"{counts['labels_since_model']} labels wait for a training")
    if not exports:
        yield Violation("lost", "run", "it did not come to its end")


def the_pool_offers_what_is_open(records: list[Record]) -> Iterator[Violation]:
    """When nothing is leased, a query may pick every example that lacks an answer, and no other."""
    overlap = overlap_of(records)
    exports = [export for export in of(records, "export") if export["final"]]
    for final, export in zip(of(records, "final"), exports, strict=True):
        labels, skips = tally(export)
        closed = {example for example, count in labels.items() if count >= overlap}
        closed |= set(skips) if overlap == 1 else set()
        still_open = {example for example, _ in final["examples"]} - closed
        offer = batches(records).get(final["offer"])
        if offer is None:
            yield Violation("lost", "pool", "the last query has no batch")
            continue
        offered = {item["example_id"] for item in offer["items"]}
        yield from (Violation("wrong", "pool", f"{each} is offered") for each in sorted(offered - still_open))
        if offer["pool"]["candidates"] != len(still_open):
            told = offer["pool"]["candidates"]
            yield Violation("lost", "pool", f"{told} examples may be picked, {len(still_open)} are open")
