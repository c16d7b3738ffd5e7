"""Figures of the benchmark, with the bounds that they must hold, as a table and JSON."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

_MIB = 1024 * 1024
_WHOLE_FROM = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure.

    Attributes:
        name: What was measured.
        value: The figure; of a ratio, with what it is a ratio of in `parts`. None: there is none, as `note` says.
        unit: Of the value.
        at_most: The bound, when less is better.
        at_least: The bound, when more is better.
        parts: What the figure was made from, by name and unit.
        note: What else there is to say.
    """

    name: str
    value: float | None
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def held(self) -> bool | None:
        """Whether the bound was held; None without a bound."""
        if self.at_most is not None:
            return self.value is not None and self.value <= self.at_most
        return None if self.at_least is None else self.value is not None and self.value >= self.at_least

    @property
    def bound(self) -> str:
        """The bound as people write it."""
        if self.at_most is not None:
            return f"≤ {_number(self.at_most)}"
        return "" if self.at_least is None else f"≥ {_number(self.at_least)}"

    @property
    def shown(self) -> str:
        """The value as people write it."""
        return "-" if self.value is None else _number(self.value)


def percentile(seconds: Sequence[float], percent: int) -> float:
    """A percentile of durations, in milliseconds."""
    return 1000 * statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]


def machine() -> dict[str, Any]:
    """What it was measured on; `load` is that of others in the minute before."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1),
    }


def table(figures: Sequence[Figure]) -> Table:
    """The figures beside their bounds."""
    made = Table("figure", "value", "unit", "bound", "held", "made from")
    for column in made.columns[1:4:2]:
        column.justify = "right"
    for figure in figures:
        held = {None: "", True: "yes", False: "[red]no[/red]"}[figure.held]
        parts = [f"{name} {_number(value)}" for name, value in figure.parts.items()]
        made_from = ", ".join([*parts, figure.note] if figure.note else parts)
        made.add_row(figure.name, figure.shown, figure.unit, figure.bound, held, made_from)
    return made


def document(figures: Sequence[Figure]) -> dict[str, Any]:
    """The same as JSON."""
    rows = [
        {
            "name": figure.name,
            "value": figure.value,
            "unit": figure.unit,
            "at_most": figure.at_most,
            "at_least": figure.at_least,
            "held": figure.held,
            "parts": dict(figure.parts),
            "note": figure.note,
        }
        for figure in figures
    ]
    return {"machine": machine(), "figures": rows}


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _WHOLE_FROM or value == int(value) else f"{value:.3g}"
