"""What the efficiency benchmark shows: tables, JSON, and the learning curves as a picture."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from rich.table import Table

from service.cli.bench_efficiency_results import BASELINE, SHARES, SetResult, StrategyResult, summarise
from workers.learning.efficiency import Difference, Reach

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLE_WIDTH = 150

_COLOURS = {"auto": "#0b6e4f", "margin": "#3b6fb6", BASELINE: "#b3541e"}
_SCORES = {"accuracy": "accuracy", "macro_f1": "macro F1", "micro_f1": "micro F1", "r2": "R2", "found": "share found"}
_COLUMNS = 4
_PANEL_SIZE = (3.1, 2.4)


def table(results: Sequence[SetResult]) -> Table:
    """Each strategy on each set: area, gain against random and margin, labels and saving at each share."""
    made = Table(
        "set", "strategy", "area", "- random", "wins", "- margin", *(f"to {_percent(share)}" for share in SHARES)
    )
    made.caption = (
        "area: mean score up to the budget. Labels to a share of the score with all labels (saving against random). "
        "[ ]: 95 % intervals over seeds. >: not within the budget."
    )
    for result in results:
        for found in result.strategies:
            first = found.strategy == BASELINE
            said = f"{result.classes} classes" if result.classes else "a number"
            what = f"{result.name} ({result.pool:,} x {said})" if first else ""
            score = f"{_SCORES[result.score]}, all labels {result.full:.4f}"
            name = what or (score if found is result.strategies[1] else "")
            made.add_row(name, found.strategy, f"{found.area:.4f}", *_row(found, result.budget), end_section=False)
        made.add_section()
    return made


def _row(found: StrategyResult, budget: int) -> list[str]:
    reaches = [_reached(reach, budget) for reach in found.reaches]
    if found.strategy == BASELINE:
        return ["", "", "", *reaches]
    gain = found.to_baseline
    to_margin = "" if found.to_margin is None or found.strategy == "margin" else _gain(found.to_margin)
    return [_gain(gain), f"{gain.wins:g}/{gain.n}", to_margin, *reaches]


def summary_table(results: Sequence[SetResult]) -> Table:
    """Each strategy over all sets."""
    made = Table(
        "over all sets",
        "gain",
        "- margin",
        "above random",
        "below random",
        *(f"saving at {_percent(s)}" for s in SHARES),
    )
    made.caption = "Medians over sets; above and below: significantly (5 %, Holm-corrected)."
    for found in summarise(results):
        savings = [
            f"{'-' if saving is None else _percent(saving)} of {sets} sets" for saving, sets in found.savings.values()
        ]
        to_margin = "" if found.gain_to_margin is None else f"{found.gain_to_margin:+.4f}"
        below = ", ".join(found.below) or "none"
        made.add_row(
            found.strategy, f"{found.gain:+.4f}", to_margin, f"{len(found.above)} of {found.sets}", below, *savings
        )
    return made


def document(results: Sequence[SetResult]) -> dict[str, Any]:
    """The same as JSON."""
    return {"sets": [asdict(result) for result in results], "summary": [asdict(found) for found in summarise(results)]}


def draw(results: Sequence[SetResult], path: Path) -> None:
    """Write the mean curves of every set, up to the budget; the format is that of the file's name."""
    rows = -(-len(results) // _COLUMNS)
    columns = min(len(results), _COLUMNS)
    figure = Figure(figsize=(_PANEL_SIZE[0] * columns, _PANEL_SIZE[1] * rows + 0.4), dpi=100, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, result in zip(panels, results, strict=False):
        _draw_set(panel, result)
    for panel in panels[len(results) :]:
        panel.set_axis_off()
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    with mpl.rc_context({"svg.hashsalt": "gleaner", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_set(panel: "Axes", result: SetResult) -> None:
    for found in result.strategies:
        points = [point for point in found.curve if point[0] <= result.budget]
        labels, scores = zip(*points, strict=True)
        panel.plot(labels, scores, label=found.strategy, color=_COLOURS.get(found.strategy), linewidth=1.4)
    panel.axhline(SHARES[1] * result.full, color="#888888", linestyle=":", linewidth=1, label="98 % of all labels")
    panel.set_title(f"{result.name} ({_SCORES[result.score]})", fontsize=9)
    panel.tick_params(labelsize=7)
    panel.grid(visible=True, color="#dddddd", linewidth=0.5)


def _gain(gain: Difference) -> str:
    return f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]".replace("[", r"\[")


def _reached(reach: Reach, budget: int) -> str:
    if reach.labels is None:
        return f"> {budget}"
    labels = f"{reach.labels:.0f}"
    if reach.saving is None or (reach.low is None and reach.saving == 0):
        return labels
    low = "" if reach.low is None else f"{100 * reach.low:.0f}"
    high = "" if reach.high is None else f"{100 * reach.high:.0f}"
    return rf"{labels} ({_percent(reach.saving)} \[{low}, {high}])"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
