"""`gleaner bench`: speed and memory, on an embedded service of its own."""

import json
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from service.cli.bench_cases import CASES, Bench
from service.cli.bench_child import ChildError
from service.cli.bench_figures import Figure, document, machine, table
from service.cli.client import CallError, Client
from service.cli.embedded import StartError, log_tail, running

TABLE_WIDTH = 110


class _Lazy(click.Group):
    """Imports a sub-command when it is called: they need scikit-learn, and the measuring of speed does not."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return the names."""
        return ["crowd", "efficiency", "scale"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the sub-command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = getattr(import_module(f"service.cli.bench_{cmd_name}"), cmd_name)
        return command


@click.group(cls=_Lazy, invoke_without_command=True)
@click.option("--json", "path", default="bench.json", show_default=True, type=click.Path(path_type=Path), help="File.")
@click.option("--quick", is_flag=True, help="Fewer repetitions, small pools, no other libraries.")
@click.option("--large", is_flag=True, help="Also pools of 10,000,000 rows.")
@click.option("--only", multiple=True, type=click.Choice(list(CASES)), help="These cases only; may be repeated.")
@click.option("--check", is_flag=True, help="Exit with code 1 when a bound is not held.")
@click.pass_context
def bench(context: click.Context, path: Path, only: tuple[str, ...], *, quick: bool, large: bool, check: bool) -> None:
    """Measure speed and memory, as a table and JSON.

    The service is measured through the HTTP API of an embedded one on a temporary folder, started with its defaults;
    strategies and trainings on memory-mapped arrays, each in a process of its own, beside plain numpy and other
    libraries where they are installed. Durations are medians where no other percentile is named. Needs Linux, whose
    /proc tells the memory of processes.
    """
    if context.invoked_subcommand:
        return
    if not sys.platform.startswith("linux"):
        raise click.ClickException("The benchmark needs Linux: /proc tells the memory of processes.")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    click.echo("  ".join(f"{name} {value}" for name, value in machine().items()))
    with tempfile.TemporaryDirectory(prefix="gleaner-bench-") as folder:
        try:
            figures = _measure(Path(folder), only or tuple(CASES), quick=quick, large=large)
        except (StartError, CallError, ChildError) as error:
            raise click.ClickException(f"{error}\nThe service's last words:\n{log_tail(Path(folder))}") from error
    console = Console()
    Console(width=max(console.width, TABLE_WIDTH)).print(table(figures))
    path.write_text(json.dumps(document(figures), indent=2) + "\n")
    click.echo(f"Written to {path.absolute()}")
    missed = [figure.name for figure in figures if figure.held is False]
    if missed:
        click.echo(f"Not held: {', '.join(missed)}.")
    if missed and check:
        raise SystemExit(1)


def _measure(folder: Path, names: tuple[str, ...], *, quick: bool, large: bool) -> list[Figure]:
    figures: list[Figure] = []
    with running(folder) as service, Client(service.url, service.key) as client:
        for name in CASES:
            if name in names:
                began = time.monotonic()
                for figure in CASES[name](Bench(service, client, np.random.default_rng(0), quick, large)):
                    figures.append(figure)
                    click.echo(f"  {figure.name}: {figure.shown} {figure.unit}", err=True)
                click.echo(f"  {name}: {time.monotonic() - began:.0f} s")
    return figures
