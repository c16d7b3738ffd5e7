"""Runs of the efficiency benchmark: in parallel, shown as they end, kept in a file to go on from."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from service.catalog.estimators import DEFAULT_ESTIMATORS, ESTIMATORS
from service.catalog.parameters import resolve
from service.cli.bench_efficiency_sets import load, simulation
from workers.learning.curve import Curve
from workers.learning.parallel import Parallel
from workers.learning.simulate import full_score, simulate

FULL = "all labels"
"""Stands in a run for a strategy: one model of the whole pool."""

_SECONDS_BETWEEN_WRITES = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One strategy on one set with one seed.

    Attributes:
        source: A Parquet file or the name of a set that comes with the project.
        past: It goes on past the budget, to the pool's end.
        cold: It starts without a label.
        estimator: Its name (None: the default of the set's task), and parameters as JSON so that runs can be compared.
    """

    source: str
    strategy: str
    seed: int
    budget: int
    past: bool
    cold: bool
    find: bool
    estimator: str | None
    estimator_params: str

    @property
    def key(self) -> str:
        """What tells this run from others, content of the file and version of the program included."""
        path = Path(self.source)
        content = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest() if path.is_file() else self.source
        told = {**asdict(self), "source": content, "version": metadata.version("gleaner")}
        return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()


def play(run: Run) -> Curve:
    """The curve of a run; of `FULL`, its one point."""
    labelled = load(run.source)
    estimator = run.estimator or DEFAULT_ESTIMATORS[labelled.task]
    params = resolve(ESTIMATORS[estimator].parameters, json.loads(run.estimator_params))
    choices: dict[str, Any] = {"estimator": estimator, "estimator_params": params}
    if run.strategy != FULL:
        choices["strategy"] = run.strategy
    made = simulation(
        labelled, seed=run.seed, cold=run.cold, budget=run.budget, past=run.past, find=run.find, **choices
    )
    if run.strategy == FULL:
        return [(len(made.y), full_score(made))]
    return simulate(made)


class Kept:
    """Finished runs in a JSON file, beside whatever else is put into it."""

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        self._document: dict[str, Any] = {"runs": {}}
        if path.exists() and not fresh:
            self._document = json.loads(path.read_text())
        self._written = time.monotonic()

    def curve(self, run: Run) -> Curve | None:
        """The curve of a run that has ended before."""
        kept = self._document["runs"].get(run.key)
        return None if kept is None else [(labels, score) for labels, score in kept["curve"]]

    def add(self, run: Run, curve: Curve) -> None:
        """Keep a run; the file is written every few seconds."""
        self._document["runs"][run.key] = {"set": Path(run.source).stem, **_told(run), "curve": _short(curve)}
        if time.monotonic() - self._written > _SECONDS_BETWEEN_WRITES:
            self.write({})

    def write(self, more: Mapping[str, Any]) -> None:
        """Write the file, with `more` in it."""
        self._document = {**self._document, **more}
        written = self._path.with_name(self._path.name + ".new")
        written.write_text(json.dumps(self._document, indent=1) + "\n")
        written.replace(self._path)
        self._written = time.monotonic()


def _told(run: Run) -> dict[str, Any]:
    return {name: value for name, value in asdict(run).items() if name != "source"}


def _short(curve: Curve) -> list[list[float]]:
    return [[labels, round(score, 6)] for labels, score in curve]


def play_all(runs: Sequence[Run], kept: Kept, *, jobs: int, ended: Callable[[Run], None]) -> dict[Run, Curve]:
    """The curves of all runs, those kept before and those played now on `jobs` cores; `ended` is told of each."""
    curves: dict[Run, Curve] = {}
    waiting = []
    for run in runs:
        curve = kept.curve(run)
        if curve is None:
            waiting.append(run)
        else:
            curves[run] = curve
            ended(run)
    parallel = Parallel("loky" if jobs > 1 else "threads", jobs)
    try:
        for run, curve in _played(parallel, waiting):
            curves[run] = _short_curve(curve)
            kept.add(run, curve)
            ended(run)
    finally:
        kept.write({})
        parallel.close()
    return curves


def _played(parallel: Parallel, runs: Sequence[Run]) -> Iterable[tuple[Run, Curve]]:
    return zip(runs, parallel.map(play, runs), strict=True)


def _short_curve(curve: Curve) -> Curve:
    """As it would be read from the file, so that a benchmark that was interrupted gives the same figures."""
    return [(math.floor(labels), score) for labels, score in _short(curve)]
