"""What the runs of the efficiency benchmark say: each set by itself, and all sets together."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from service.catalog.strategies import STRATEGIES
from service.cli.bench_efficiency_play import FULL, Run
from service.cli.bench_efficiency_sets import LabelledSet
from workers.learning.curve import Curve
from workers.learning.efficiency import Difference, Reach, areas, difference, holm, mean_curve, reach

BASELINE = "random"
SHARES = (0.95, 0.98, 0.99)
_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is played; the first of `strategies` is the baseline."""

    strategies: tuple[str, ...]
    seeds: int
    budget: int
    cold: bool
    find: bool
    past: Literal["all", "random", "none"]
    estimator: str | None
    estimator_params: str

    def played(self, made: LabelledSet) -> tuple[str, ...]:
        """Those of the strategies that serve the task of a set; to find a class is a task of classification."""
        return tuple(name for name in self.strategies if made.task in STRATEGIES[name].tasks)

    def runs(self, source: str, made: LabelledSet) -> list[Run]:
        """The runs on a set, seed by seed; a model of all labels for each test set."""
        fulls = range(self.seeds if made.test is None else 1)
        runs = [self._run(source, FULL, seed) for seed in fulls]
        return runs + [self._run(source, name, seed) for seed in range(self.seeds) for name in self.played(made)]

    def _run(self, source: str, strategy: str, seed: int) -> Run:
        past = strategy != FULL and (self.past == "all" or (self.past == "random" and strategy == BASELINE))
        return Run(
            source=source,
            strategy=strategy,
            seed=seed,
            budget=self.budget,
            past=past,
            cold=self.cold,
            find=self.find,
            estimator=self.estimator,
            estimator_params=self.estimator_params,
        )

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "estimator_params": json.loads(self.estimator_params)}


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyResult:
    """A strategy on a set: its mean curve and area, against the baseline and against margin, and what it saves."""

    strategy: str
    curve: Curve
    area: float
    to_baseline: Difference
    to_margin: Difference | None
    reaches: tuple[Reach, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetResult:
    """All strategies on a set, the baseline first; `full` is the mean score of a model of all labels."""

    name: str
    score: str
    pool: int
    classes: int
    budget: int
    full: float
    strategies: tuple[StrategyResult, ...]


def compare(made: LabelledSet, curves: Mapping[Run, Curve], settings: Settings) -> SetResult:
    """Compare the runs on a set."""
    by_strategy: dict[str, list[Curve]] = {name: [] for name in (FULL, *settings.played(made))}
    for run in sorted(curves, key=lambda run: run.seed):
        by_strategy[run.strategy].append(curves[run])
    fulls = by_strategy.pop(FULL)
    pool = int(fulls[0][-1][0])
    full = [score for ((_, score),) in fulls] * (1 if len(fulls) == settings.seeds else settings.seeds)
    budget = min(settings.budget, pool)
    area = {name: areas(found, budget) for name, found in by_strategy.items()}
    rng = np.random.default_rng(0)
    return SetResult(
        name=made.name,
        score="found" if settings.find else made.score,
        pool=pool,
        classes=made.classes,
        budget=budget,
        full=float(np.mean(full)),
        strategies=tuple(
            StrategyResult(
                strategy=name,
                curve=mean_curve(found),
                area=float(area[name].mean()),
                to_baseline=difference(area[name], area[BASELINE], rng),
                to_margin=difference(area[name], area["margin"], rng) if "margin" in area else None,
                reaches=tuple(reach(found, by_strategy[BASELINE], full, share, rng) for share in SHARES),
            )
            for name, found in by_strategy.items()
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A strategy over all sets.

    Attributes:
        below: sets where its area is significantly below the baseline's (5 %, Holm-corrected over the sets).
        above: where it is significantly above.
        gain: median of its area less the baseline's.
        gain_to_margin: the same against margin.
        savings: of each share: the median saving, and how many sets it is of. A set where only the baseline gets
            there within its labels counts as a saving of less than any other.
    """

    strategy: str
    sets: int
    below: tuple[str, ...]
    above: tuple[str, ...]
    gain: float
    gain_to_margin: float | None
    savings: Mapping[float, tuple[float | None, int]]


def summarise(results: Sequence[SetResult]) -> list[Summary]:
    """Each strategy over all sets."""
    names = dict.fromkeys(found.strategy for result in results for found in result.strategies)
    return [_summary(name, results) for name in names if name != BASELINE]


def _summary(name: str, results: Sequence[SetResult]) -> Summary:
    """A strategy over the sets whose task it serves."""
    by_set = [(result, of) for result in results for of in result.strategies if of.strategy == name]
    found = [of for _, of in by_set]
    corrected = holm([of.to_baseline.p for of in found])
    told = [
        (result.name, of.to_baseline.mean)
        for (result, of), p in zip(by_set, corrected, strict=True)
        if p < _SIGNIFICANT
    ]
    to_margin = [of.to_margin.mean for of in found if of.to_margin is not None]
    return Summary(
        strategy=name,
        sets=len(found),
        below=tuple(where for where, mean in told if mean < 0),
        above=tuple(where for where, mean in told if mean > 0),
        gain=statistics.median(of.to_baseline.mean for of in found),
        gain_to_margin=statistics.median(to_margin) if to_margin and name != "margin" else None,
        savings={share: _median_saving(found, place) for place, share in enumerate(SHARES)},
    )


def _median_saving(found: Sequence[StrategyResult], place: int) -> tuple[float | None, int]:
    savings = [
        float("-inf") if of.reaches[place].saving is None else of.reaches[place].saving
        for of in found
        if of.reaches[place].baseline
    ]
    if not savings:
        return None, 0
    median = statistics.median(saving for saving in savings if saving is not None)
    return (median if np.isfinite(median) else None), len(savings)
