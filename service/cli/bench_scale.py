"""`gleaner bench scale`: time and memory of work over a pool, by its size and by the number of processes."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from service.cli.bench_child import ChildError, Measured, measured
from service.cli.bench_figures import machine

SIZES = (1_000_000, 3_000_000, 10_000_000, 30_000_000)
WORK = ("predict", "margin", "k_center")
_PROCESSES = (1, 2, 4)
_BYTES_A_ROW = 4 * (64 + 2 * 10)  # vectors, and predictions beside those that take their place
_LEFT_FREE = 3 * 1024**3
_MILLION = 1_000_000
_LIMIT_SECONDS = 1_800.0
_TABLE_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Found:
    """What a pool of so many rows took with so many processes."""

    rows: int
    processes: int
    measured: Measured

    @property
    def seconds(self) -> dict[str, float]:
        """Of each work."""
        return {name: self.measured.seconds[name] for name in ("read", *WORK)}

    @property
    def processor_seconds(self) -> float:
        """Of a prediction of the pool and a batch by margin, for a million rows."""
        spent = sum(self.measured.seconds[f"{name}, processors"] for name in ("predict", "margin"))
        return spent * _MILLION / self.rows


@click.command()
@click.option("--rows-up-to", default=10_000_000, show_default=True, type=click.IntRange(min=1), help="Largest pool.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where pools are laid for a while.  [default: that of the system]",
)
@click.option("--json", "path", default="scale.json", show_default=True, type=click.Path(path_type=Path), help="File.")
def scale(rows_up_to: int, folder: Path | None, path: Path) -> None:
    """Measure pools of 1, 3, 10 and 30 million x 64 with 1, 2 and 4 processes.

    Each figure is the median of three runs: the model's predictions of the whole pool, kept in chunks; then a batch of
    100 by margin and by k_center. Beside them: reading the bytes of the vectors once. Pools that the disk has no room
    for are left out, and all files are removed in the end. Needs Linux, whose /proc tells the memory of processes.
    """
    if not sys.platform.startswith("linux"):
        raise click.ClickException("The benchmark needs Linux: /proc tells the memory of processes.")
    click.echo("  ".join(f"{name} {value}" for name, value in machine().items()))
    found = []
    with tempfile.TemporaryDirectory(prefix="gleaner-bench-", dir=folder) as laid:
        try:
            for one in _measure(Path(laid), rows_up_to):
                found.append(one)
                path.write_text(json.dumps({"machine": machine(), "pools": [asdict(one) for one in found]}, indent=2))
                click.echo(f"  {one.rows:,} rows, {one.processes} processes: {_told(one)}", err=True)
        except ChildError as error:
            raise click.ClickException(str(error)) from error
    console = Console()
    Console(width=max(console.width, _TABLE_WIDTH)).print(table(found))
    click.echo(f"Written to {path.absolute()}")


def _measure(folder: Path, most: int) -> Iterator[Found]:
    for rows in [size for size in SIZES if size <= most] or [most]:
        if shutil.disk_usage(folder).free < rows * _BYTES_A_ROW + _LEFT_FREE:
            click.echo(f"  {rows:,} rows: the disk has no room.", err=True)
            return
        measured("lay_pool", limit=_LIMIT_SECONDS, folder=folder, rows=rows)
        for processes in _PROCESSES:
            yield Found(rows, processes, measured("scale", limit=_LIMIT_SECONDS, folder=folder, jobs=processes))


def table(found: list[Found]) -> Table:
    """Seconds of each work; in brackets, how many times faster than one process."""
    made = Table("rows", "by", "read s", *(f"{name} s" for name in WORK), "x reading", "CPU s a million", "MiB")
    for column in made.columns:
        column.justify = "right"
    for one in found:
        alone = next(other for other in found if other.rows == one.rows)
        times = [f"{one.seconds[name]:.2f} ({alone.seconds[name] / one.seconds[name]:.1f}x)" for name in WORK]
        of_reading = " / ".join(f"{one.seconds[name] / one.seconds['read']:.1f}" for name in WORK)
        made.add_row(
            f"{one.rows:,}",
            str(one.processes),
            f"{one.seconds['read']:.2f}",
            *times,
            of_reading,
            f"{one.processor_seconds:.2f}",
            f"{one.measured.mib:,.0f}",
        )
    return made


def _told(one: Found) -> str:
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in one.seconds.items())
