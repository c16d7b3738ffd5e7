"""What a run did, in numbers."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.chaos.client import LARGE
from tests.chaos.evidence import Effect, Violation, effects
from tests.chaos.history import Record

_CHANGES = ("label", "upload", "query", "training", "renew", "release", "predictions", "activation")
_COUNTS = (
    "acknowledged_writes",
    "labels",
    "skips",
    "large_uploads",
    "predictions",
    "renewals_and_releases",
    "unanswered",
    "retries",
    "jobs_ended",
    "events",
    "lost",
    "duplicated",
    "wrong",
)


@dataclass(frozen=True)
class Figures:
    """Of one run over one database.

    Attributes:
        faults: Those that hit something, by kind.
        missed: Those that found nothing to hit, by kind.
        acknowledged_writes: Changes that were answered; what follows up to the releases is in them.
        longest_recovery: Most seconds from the end of a fault to the next acknowledged write and the next ended job.
        settled: Seconds from the last fault's end until all jobs had ended and all labels were learnt.
    """

    database: str
    seed: int
    seconds: float
    faults: dict[str, int]
    missed: dict[str, int]
    acknowledged_writes: int
    labels: int
    skips: int
    large_uploads: int
    predictions: int
    renewals_and_releases: int
    unanswered: int
    retries: int
    jobs_ended: int
    events: int
    lost: int
    duplicated: int
    wrong: int
    longest_recovery: float
    settled: float


def figures(records: list[Record], violations: list[Violation], *, database: str, seed: int) -> Figures:
    """Count."""
    changes = [effect for effect in effects(records, *_CHANGES) if effect.answered]
    answers = [row for change in changes if "labels" in change.body for row in change.body["labels"]]
    severity = Counter(violation.severity for violation in violations)
    ended = {record["id"] for record in records if record["what"] == "job"}
    return Figures(
        database=database,
        seed=seed,
        seconds=round(records[-1]["at"] - records[0]["at"], 1),
        faults=_count(records, "fault", "kind"),
        missed=_count(records, "fault_missed", "kind"),
        acknowledged_writes=len(changes),
        labels=sum("label" in row for row in answers),
        skips=sum("skip" in row for row in answers),
        large_uploads=sum(len(change.body.get("examples", ())) >= LARGE for change in changes),
        predictions=sum(len(change.body.get("rows", ())) for change in changes),
        renewals_and_releases=sum("job_id" in change.body for change in changes),
        unanswered=sum(record["what"] == "given_up" for record in records),
        retries=sum(1 for record in records if record["what"] == "attempt"),
        jobs_ended=len(ended),
        events=len({record["id"] for record in records if record["what"] == "delivery"}),
        lost=severity["lost"],
        duplicated=severity["duplicated"],
        wrong=severity["wrong"],
        longest_recovery=round(_longest_recovery(records, changes), 1),
        settled=round(_moment(records, "settled") - _moment(records, "calm"), 1),
    )


def table(all_figures: list[Figures]) -> str:
    """For people: a column for each database, and one for all."""
    kinds = sorted({kind for found in all_figures for kind in (*found.faults, *found.missed)})
    rows = [_summed(kind, [found.faults.get(kind, 0) for found in all_figures]) for kind in kinds]
    rows.append(_summed("faults", [sum(found.faults.values()) for found in all_figures]))
    rows.append(_summed("hit nothing", [sum(found.missed.values()) for found in all_figures]))
    rows.extend(_summed(name, [getattr(found, name) for found in all_figures]) for name in _COUNTS)
    for name in ("longest_recovery", "settled", "seconds"):
        values = [getattr(found, name) for found in all_figures]
        rows.append((f"{name} s", values, max(values)))
    head = _line("", [*(found.database for found in all_figures), "all"])
    return "\n".join([head, *(_line(name.replace("_", " "), [*values, of_all]) for name, values, of_all in rows)])


def _summed(name: str, values: list[int]) -> tuple[str, list[Any], Any]:
    return name, values, sum(values)


def _line(name: str, values: list[Any]) -> str:
    return f"{name:<24}" + "".join(f"{value:>14}" for value in values)


def _count(records: list[Record], what: str, name: str) -> dict[str, int]:
    return dict(sorted(Counter(record[name] for record in records if record["what"] == what).items()))


def _longest_recovery(records: list[Record], changes: list[Effect]) -> float:
    calm = _moment(records, "settled")
    writes = sorted(change.ended for change in changes)
    told = [record["told"]["finished_at"] for record in records if record["what"] == "job"]
    jobs = sorted(datetime.fromisoformat(time).timestamp() for time in told if time)
    lasting = [record["at"] for record in records if record["what"] == "fault_end"]
    waits = (_next(moments, at, calm) - at for at in lasting if at < calm for moments in (writes, jobs))
    return max(waits, default=0.0)


def _next(moments: list[float], at: float, otherwise: float) -> float:
    return next((moment for moment in moments if moment >= at), otherwise)


def _moment(records: list[Record], what: str) -> float:
    found: float = next((record["at"] for record in records if record["what"] == what), records[-1]["at"])
    return found
