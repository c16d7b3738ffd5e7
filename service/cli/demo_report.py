"""What the demo shows: progress, tables and the picture of the learning curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from service.cli.demo_play import Outcome, Player
from workers.learning.curve import Curve, labels_to_reach, saving

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHARES = (0.95, 0.98)
_HEADLINE = SHARES[-1]
_COLOURS = {"auto": "#0b6e4f", "random": "#b3541e"}


class Rounds:
    """Shows each round: a progress bar on a terminal, else a line."""

    def __init__(self, console: Console, budget: int) -> None:
        self._console = console
        columns = (BarColumn(), TextColumn("{task.completed:3.0f} of {task.total:.0f} labels each"))
        self._progress = Progress(
            *columns, TextColumn("{task.description}"), TimeElapsedColumn(), console=console, disable=not self._live
        )
        self._task = self._progress.add_task("", total=budget)

    @property
    def _live(self) -> bool:
        return self._console.is_terminal

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def show(self, players: Sequence[Player]) -> None:
        """Show the state after a round."""
        accuracies = "  ".join(f"{player.strategy} {_last(player.curve)}" for player in players)
        self._progress.update(self._task, completed=players[0].labels, description=accuracies)
        if not self._live:
            click.echo(f"{players[0].labels:4d} labels each   {accuracies}")


def show_tables(console: Console, outcome: Outcome) -> None:
    """Print accuracy against labels, and the labels that each mark took."""
    console.print("\nAccuracy on the test set, by labels:", _accuracy_table(outcome.curves))
    console.print(
        f"Labels to reach a share of {outcome.full:.3f}, the accuracy with all labels:", _marks_table(outcome)
    )


def saving_line(outcome: Outcome) -> str:
    """The line that says what `auto` saved on the way to 98 % of the full-data accuracy."""
    target = _HEADLINE * outcome.full
    saved = saving(outcome.curves["auto"], outcome.curves["random"], target)
    if saved is None:
        return f"saving: none ({_percent(_HEADLINE)} of the full-data accuracy was not reached within the budget)"
    return f"saving: {saved}"


def draw(outcome: Outcome, title: str, path: Path) -> None:
    """Write the learning curves as a PNG."""
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes = figure.subplots()
    for name, curve in outcome.curves.items():
        axes.plot(*zip(*curve, strict=True), marker="o", markersize=3.5, color=_COLOURS[name], label=name, zorder=3)
    for share, line in zip((*SHARES, 1.0), (":", "--", "-"), strict=True):
        _draw_mark(axes, share, share * outcome.full, line)
    for name, curve in outcome.curves.items():
        _draw_arrival(axes, labels_to_reach(curve, _HEADLINE * outcome.full), _COLOURS[name])
    axes.set(xlabel="labels", ylabel="accuracy on the test set", xlim=(0, None))
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"Active learning on {title}, {saving_line(outcome)}", loc="left")
    figure.savefig(path)


def _draw_mark(axes: "Axes", share: float, target: float, line: str) -> None:
    """A line at a share of the full-data accuracy, named beside the axes, where no curve is."""
    axes.axhline(target, color="0.55", linestyle=line, linewidth=0.9, zorder=1)
    text = f"{'all labels' if share == 1 else _percent(share)}: {target:.3f}"
    style = {"va": "center", "fontsize": 8, "color": "0.35"}
    axes.text(1.005, target, text, style, transform=axes.get_yaxis_transform())


def _draw_arrival(axes: "Axes", labels: float | None, colour: str) -> None:
    """A line at the labels that a curve took to 98 %, with their number."""
    if labels is None:
        return
    axes.axvline(labels, color=colour, linewidth=0.9, linestyle="--", alpha=0.6, zorder=1)
    axes.text(labels, 0.01, f" {labels:g}", {"fontsize": 8, "color": colour}, transform=axes.get_xaxis_transform())


def _accuracy_table(curves: Mapping[str, Curve]) -> Table:
    table = Table("labels", *curves)
    for column in table.columns:
        column.justify = "right"
    points = {name: dict(curve) for name, curve in curves.items()}
    for labels in sorted(set().union(*points.values())):
        table.add_row(str(labels), *(_accuracy(points[name].get(labels)) for name in curves))
    return table


def _marks_table(outcome: Outcome) -> Table:
    table = Table("share", "accuracy", *outcome.curves, "saving")
    for column in table.columns:
        column.justify = "right"
    for share in SHARES:
        target = share * outcome.full
        needed = [_labels(curve, target) for curve in outcome.curves.values()]
        saved = saving(outcome.curves["auto"], outcome.curves["random"], target)
        table.add_row(_percent(share), f"{target:.3f}", *needed, "-" if saved is None else str(saved))
    return table


def _labels(curve: Curve, target: float) -> str:
    labels = labels_to_reach(curve, target)
    return f"> {curve[-1][0]}" if labels is None else str(labels)


def _last(curve: Curve) -> str:
    return _accuracy(curve[-1][1] if curve else None)


def _accuracy(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
