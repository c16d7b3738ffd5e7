"""`gleaner bench efficiency`: how many labels each strategy needs, on sets whose labels are all known."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from service.catalog.estimators import DEFAULT_ESTIMATORS, ESTIMATORS
from service.catalog.parameters import resolve
from service.catalog.strategies import STRATEGIES
from service.cli.bench_efficiency_play import FULL, Kept, Run, play_all
from service.cli.bench_efficiency_report import TABLE_WIDTH, document, draw, summary_table, table
from service.cli.bench_efficiency_results import BASELINE, SetResult, Settings, compare
from service.cli.bench_efficiency_sets import LabelledSet, SetError, load
from service.cli.bench_figures import machine
from service.errors import InvalidRequestError
from workers.learning.datasets import NAMES


class _Names(click.ParamType[list[str]]):
    """Names of strategies, separated by commas."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        if isinstance(value, list):
            return value
        names = [name.strip() for name in str(value).split(",")]
        for name in names:
            if name not in STRATEGIES:
                self.fail(f"there is no strategy called {name!r}; there are {', '.join(STRATEGIES)}", param, ctx)
        return names


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False))
@click.option("--strategies", default="auto,margin", show_default=True, type=_Names(), help="Beside random.")
@click.option("--seeds", default=20, show_default=True, type=click.IntRange(min=1), help="Runs of each strategy.")
@click.option("--jobs", default=0, type=click.IntRange(min=0), help="Cores to use.  [default: all]")
@click.option("--budget", default=600, show_default=True, type=click.IntRange(min=30), help="Labels of each run.")
@click.option(
    "--start",
    type=click.Choice(["random", "cold"]),
    default="random",
    show_default=True,
    help="`random`: 20 labelled examples, the same for all. `cold`: no label at all.",
)
@click.option(
    "--find", is_flag=True, help="Find the rarest class: measure which share of the pool's examples of it is labelled."
)
@click.option(
    "--past-budget",
    type=click.Choice(["all", "random", "none"]),
    default="random",
    show_default=True,
    help="Who goes on to the pool's end, in growing steps.",
)
@click.option("--estimator", type=click.Choice(list(ESTIMATORS)), help="What is trained.  [default: the task's own]")
@click.option("--estimator-params", default="{}", show_default=True, help="Its parameters, as a JSON object.")
@click.option("--json", "path", default="efficiency.json", show_default=True, type=click.Path(path_type=Path))
@click.option("--picture", default="efficiency.svg", show_default=True, type=click.Path(path_type=Path))
@click.option("--fresh", is_flag=True, help="Play again what the JSON file holds already.")
def efficiency(
    files: tuple[str, ...], estimator: str | None, estimator_params: str, path: Path, picture: Path, **choices: Any
) -> None:
    """Measure how much labelling each strategy saves against random labelling.

    FILES are Parquet files with the columns `label`, `text` or `vector` or `x0`, `x1`, …, and perhaps `split` (train or
    test; without it each seed keeps another 40 % aside). Lists as labels are several classes an example, floating-point
    numbers are regression. A strategy is played on the sets whose task it serves. Without FILES, plays the sets that
    come with Gleaner.

    Strategies are paired: a seed gives all of them the same start and the same test set. Scores are accuracies, or
    macro F1 where a class is rare, micro F1 of several classes, R2 of numbers. Finished runs are kept in the JSON file,
    and an interrupted benchmark goes on there.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        sets = [load(source) for source in files or NAMES]
        _check_wishes(sets, choices["strategies"], find=choices["find"])
        params = json.loads(estimator_params)
        for name in {estimator or DEFAULT_ESTIMATORS[made.task] for made in sets}:
            resolve(ESTIMATORS[name].parameters, params)
    except SetError as error:
        raise click.ClickException(str(error)) from error
    except (ValueError, AttributeError, InvalidRequestError) as error:
        raise click.BadParameter(str(error), param_hint="--estimator-params") from error
    settings = Settings(
        strategies=(BASELINE, *(name for name in choices["strategies"] if name != BASELINE)),
        seeds=choices["seeds"],
        budget=choices["budget"],
        cold=choices["start"] == "cold",
        find=choices["find"],
        past=choices["past_budget"],
        estimator=estimator,
        estimator_params=json.dumps(params, sort_keys=True),
    )
    jobs = choices["jobs"] or len(os.sched_getaffinity(0))
    _measure(sets, files or NAMES, settings, Kept(path, fresh=choices["fresh"]), jobs=jobs, picture=picture)
    click.echo(f"Written to {path.absolute()} and {picture.absolute()}")


def _check_wishes(sets: Sequence[LabelledSet], strategies: Sequence[str], *, find: bool) -> None:
    for made in sets:
        if find and made.task != "classification":
            raise SetError(f"{made.name} has no one class an example, of which the rarest could be found (--find).")
    for name in strategies:
        if not find and "required" in STRATEGIES[name].parameters:
            raise SetError(f"{name} looks for one class: play it with --find.")


def _measure(
    sets: Sequence[LabelledSet], sources: Sequence[str], settings: Settings, kept: Kept, *, jobs: int, picture: Path
) -> None:
    console = Console()
    runs = {source: settings.runs(source, made) for source, made in zip(sources, sets, strict=True)}
    results: list[SetResult] = []
    with _Shown(console, sum(map(len, runs.values()))) as shown:
        for source, made in zip(sources, sets, strict=True):
            curves = play_all(runs[source], kept, jobs=jobs, ended=shown.tell)
            results.append(compare(made, curves, settings))
    wide = Console(width=max(console.width, TABLE_WIDTH))
    wide.print(table(results), summary_table(results))
    kept.write({"machine": machine(), "settings": settings.document(), **document(results)})
    draw(results, picture)


class _Shown:
    """A progress bar on a terminal, else a line now and then."""

    def __init__(self, console: Console, runs: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._progress = Progress(
            *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal
        )
        self._task = self._progress.add_task("", total=runs)
        self._live, self._runs, self._done = console.is_terminal, runs, 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()
        if isinstance(error, KeyboardInterrupt):
            click.echo(
                f"Stopped. {self._done} of {self._runs} runs are kept; the same command goes on with the others."
            )

    def tell(self, run: Run) -> None:
        """Show that a run has ended."""
        self._done += 1
        name = f"{Path(run.source).stem}, {run.strategy}"
        self._progress.update(self._task, completed=self._done, description=name)
        if not self._live and (self._done % max(1, self._runs // 20) == 0 or run.strategy == FULL):
            click.echo(f"{self._done} of {self._runs} runs: {name}")
