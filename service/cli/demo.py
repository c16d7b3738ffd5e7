"""`gleaner demo`: active learning against random labelling, on real data, through the whole service."""

import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from service.cli.client import CallError, Client
from service.cli.demo_play import LoopError, Outcome, play
from service.cli.demo_receiver import DeliveryError, Receiver
from service.cli.demo_report import Rounds, draw, saving_line, show_tables
from service.cli.embedded import StartError, log_tail, running
from workers.learning.datasets import NAMES, Dataset, load

SETTINGS = {"GLEANER_WEBHOOK_ALLOW": "127.0.0.0/8", "GLEANER_LOG_LEVEL": "warning"}


@click.command()
@click.option("--data", "name", type=click.Choice(NAMES), default="digits", show_default=True, help="Data set.")
@click.option("--budget", default=400, show_default=True, type=click.IntRange(min=20), help="Labels of each strategy.")
@click.option("--batch", default=20, show_default=True, type=click.IntRange(min=2), help="Labels between trainings.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of every random choice.")
@click.option("--keep-data", type=click.Path(path_type=Path), help="Keep the service's data, in this folder.")
def demo(name: str, budget: int, batch: int, seed: int, keep_data: Path | None) -> None:
    """Watch active learning beat random labelling on real data.

    Starts the service on a temporary folder and plays the annotator of two projects over HTTP, both from the same first
    batch, drawn at random: `auto` asks for what is best labelled next, `random` for anything. Each batch of labels
    starts a training, whose end a signed webhook tells. The learning curves go into the current folder as a picture.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    console = Console()
    dataset = load(name, np.random.default_rng(seed))
    pool = int((~dataset.test).sum())
    budget = min(budget, pool) // batch * batch
    if budget < 2 * batch:
        raise click.BadParameter("the budget must have room for two batches", param_hint="--budget")
    click.echo(f"Data: {dataset.title}; {pool} to label, {dataset.y.size - pool} kept aside to test.")
    began = time.monotonic()
    with _data_folder(keep_data) as folder:
        outcome, verified = _run(console, dataset, folder, budget=budget, batch=batch, seed=seed)
    show_tables(console, outcome)
    click.echo(
        f"{verified} signed webhooks verified in {time.monotonic() - began:.0f} seconds. Another --seed, another run."
    )
    click.echo(saving_line(outcome))
    picture = Path.cwd() / f"gleaner-demo-{name}.png"
    draw(outcome, dataset.title, picture)
    click.echo(picture)


def _run(
    console: Console, dataset: Dataset, folder: Path, *, budget: int, batch: int, seed: int
) -> tuple[Outcome, int]:
    """Play on a service of our own; return what was measured and how many webhooks were verified."""
    try:
        with running(folder, settings=SETTINGS) as service, Receiver() as receiver:
            click.echo(f"Gleaner runs at {service.url}; both projects start with the same {batch} labels at random.")
            with Client(service.url, service.key) as client, Rounds(console, budget) as rounds:
                outcome = play(client, receiver, dataset, budget=budget, batch=batch, seed=seed, watch=rounds.show)
            return outcome, receiver.verified
    except (StartError, CallError, DeliveryError, LoopError) as error:
        tail = log_tail(folder)
        raise click.ClickException(f"{error}\nThe service's last words:\n{tail}" if tail else str(error)) from error


@contextmanager
def _data_folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="gleaner-demo-") as folder:
        yield Path(folder)
