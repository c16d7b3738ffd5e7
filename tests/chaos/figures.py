"""What a run did, in numbers."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.chaos.checker import Violation
from tests.chaos.history import Record


@dataclass(frozen=True)
class Figures:
    """Of one run over one database.

    Attributes:
        faults: Those that hit something, by kind.
        missed: Those that found nothing to hit, by kind.
        longest_recovery: Most seconds from the end of a fault to the next acknowledged write and the next ended job.
        settled: Seconds from the last fault's end until all jobs had ended and all labels were learnt.
    """

    database: str
    seed: int
    seconds: float
    faults: dict[str, int]
    missed: dict[str, int]
    acknowledged: int
    labels: int
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
    changes = [record for record in records if record["what"] == "answer" and record["op"] != "replay"]
    severity = Counter(violation.severity for violation in violations)
    ended = {record["id"] for record in records if record["what"] == "job"}
    return Figures(
        database=database,
        seed=seed,
        seconds=round(records[-1]["at"] - records[0]["at"], 1),
        faults=_count(records, "fault", "kind"),
        missed=_count(records, "fault_missed", "kind"),
        acknowledged=len(changes),
        labels=sum(len(change["body"]["labels"]) for change in changes if change["op"] == "label"),
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
    """For people."""
    kinds = sorted({kind for found in all_figures for kind in (*found.faults, *found.missed)})
    rows: list[tuple[str, list[Any]]] = [(kind, [found.faults.get(kind, 0) for found in all_figures]) for kind in kinds]
    rows.append(("faults in all", [sum(found.faults.values()) for found in all_figures]))
    rows.append(("hit nothing", [sum(found.missed.values()) for found in all_figures]))
    counts = ("acknowledged", "labels", "retries", "jobs_ended", "events", "lost", "duplicated", "wrong")
    rows.extend((name.replace("_", " "), [getattr(found, name) for found in all_figures]) for name in counts)
    seconds = ("longest_recovery", "settled", "seconds")
    rows.extend((f"{name.replace('_', ' ')} s", [getattr(found, name) for found in all_figures]) for name in seconds)
    head = f"{'':<20}" + "".join(f"{found.database:>14}" for found in all_figures)
    return "\n".join([head, *(f"{name:<20}" + "".join(f"{value:>14}" for value in values) for name, values in rows)])


def _count(records: list[Record], what: str, name: str) -> dict[str, int]:
    return dict(sorted(Counter(record[name] for record in records if record["what"] == what).items()))


def _longest_recovery(records: list[Record], changes: list[Record]) -> float:
    calm = _moment(records, "settled")
    writes = sorted(change["at"] for change in changes)
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
