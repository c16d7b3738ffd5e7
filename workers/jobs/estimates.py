"""How far a project's goal is, told at the end of a training: a class to find, a metric to reach."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from service.actions.goals import goal_of
from service.catalog.stopping_rules import RECALL
from service.catalog.tasks import classes_of
from service.db.queries import examples as example_queries
from service.db.queries import models as model_queries
from service.db.tables import Model, Project
from workers.jobs.holdout import Picked
from workers.jobs.labels import Labelled
from workers.learning.forecast import Curve, forecast
from workers.learning.metric import Z
from workers.learning.recall import Counted, RecallEstimate, estimate_recall

_Metric = Mapping[str, Any]


@dataclass(frozen=True)
class Before:
    """What is read for the goal: nothing where there is none.

    Attributes:
        points: labels and the goal's metric of each model that was trained here, in order.
        pool: the examples of the pool, where a class is to be found.
    """

    points: Sequence[tuple[int, _Metric]] = ()
    pool: int = 0


@dataclass(frozen=True)
class Sample:
    """The labelled examples that were drawn at random out of the held-out part, and what they do not stand for.

    Attributes:
        drawn: the sample.
        unasked: examples that were labelled without being asked for, in the held-out part and out of it: none of them
            could be drawn, and the sample tells of the others.
    """

    drawn: Labelled
    unasked: Sequence[Labelled]


@dataclass(frozen=True)
class Found:
    """The labelled examples: what was learnt, what was held out, and the sample; None: strategies picked of it, too."""

    train: Labelled
    holdout: Labelled
    sample: Sample | None


def sample_of(train: Labelled, holdout: Labelled, picked: Picked) -> Sample:
    """The sample, out of what people have labelled."""
    asked = np.concatenate([picked.drawn, picked.otherwise])
    unasked = [part.only(~np.isin(part.rows, asked)) for part in (train, holdout)]
    return Sample(holdout.only(np.isin(holdout.rows, picked.drawn)), unasked)


def read(session: Session, project: Project) -> Before:
    """Read what the goal needs."""
    goal = goal_of(project)
    points = _points(model_queries.curve(session, project.id), goal["metric"]) if "metric" in goal else ()
    return Before(points, example_queries.pool_size(session, project.id) if "find" in goal else 0)


def _points(models: Sequence[Model], metric: str) -> list[tuple[int, _Metric]]:
    trained = [model for model in models if model.name is None and metric in model.metrics]
    return [(model.labels_used, model.metrics[metric]) for model in trained]


def estimate(
    project: Project,
    before: Before,
    metrics: Mapping[str, _Metric],
    labelled: Found,
    *,
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    """What a model keeps of how far the goal is; None without one.

    Args:
        project: whose goal it is.
        before: what was read.
        metrics: of the model that is new; none when nothing could measure it.
        labelled: the labelled examples that it learnt, and those that were held out.
        rng: for the interval of the forecast.
    """
    goal = goal_of(project)
    if not goal:
        return None
    made: dict[str, Any] = {"goal": goal, "recall": None, "labels_left": None, "rules": []}
    if "metric" in goal and goal["metric"] in metrics:
        metric = metrics[goal["metric"]]
        made["labels_left"] = _labels_left(goal, [*before.points, (labelled.train.size, metric)], rng)
        made["rules"].append(_metric_rule(goal, metric))
    if "find" in goal:
        code = classes_of(project.task).index(goal["find"])
        counted = _counted(before.pool, labelled, code)
        told = estimate_recall(counted)
        made["recall"] = _recall(project, labelled, counted, told)
        made["rules"].append(_recall_rule(goal, labelled, told))
    return made


def newly_met(estimates: Mapping[str, Any] | None, before: Mapping[str, Any] | None) -> set[str]:
    """The stopping rules that are met, as a model keeps them, and were not when the model before was made.

    What another goal met says nothing of this one.
    """
    same = before if estimates and before and before["goal"] == estimates["goal"] else None
    return _met(estimates) - _met(same)


def _met(estimates: Mapping[str, Any] | None) -> set[str]:
    return {rule["name"] for rule in (estimates or {}).get("rules", []) if rule["met"]}


def _counted(pool: int, labelled: Found, code: int) -> Counted:
    """What was found of a class; without a sample nothing counts as drawn."""
    parts = (labelled.train, labelled.holdout)
    unasked = labelled.sample.unasked if labelled.sample else ()
    return Counted(
        pool=pool - sum(part.size for part in unasked),
        unlabelled=max(pool - sum(part.size for part in parts), 0),
        found=sum(_count(part, code) for part in parts),
        drawn=labelled.sample.drawn.size if labelled.sample else 0,
        positives=_count(labelled.sample.drawn, code) if labelled.sample else 0,
        unasked=sum(_count(part, code) for part in unasked),
    )


def _count(labelled: Labelled, code: int) -> int:
    applies = labelled.y[:, code] == 1 if labelled.y.ndim > 1 else labelled.y == code
    return int(np.count_nonzero(applies))


def _labels_left(
    goal: Mapping[str, Any], points: list[tuple[int, _Metric]], rng: np.random.Generator
) -> dict[str, Any]:
    """The labels from now on, by the points that were measured as the newest one was."""
    used, newest = points[-1]
    same = {labels: metric for labels, metric in points if metric["method"] == newest["method"]}
    sizes = np.array(sorted(same), dtype=np.float64)
    measured = [same[int(size)] for size in sizes]
    curve = Curve(
        sizes,
        np.array([metric["value"] for metric in measured]),
        np.array([(metric["high"] - metric["low"]) / (2 * Z) for metric in measured]),
    )
    note = {"metric": goal["metric"], "target": goal["at_least"], "biased": newest["biased"], "points": sizes.size}
    if newest["value"] >= goal["at_least"]:
        return {**note, "labels": 0, "low": None, "high": None, "reason": "reached"}
    found = forecast(curve, goal["at_least"], rng)
    left = {name: _after(getattr(found, name), used) for name in ("labels", "low", "high")}
    return {**note, **left, "reason": found.reason}


def _after(labels: float | None, used: int) -> int | None:
    return None if labels is None or not np.isfinite(labels) else max(ceil(labels) - used, 0)


def _metric_rule(goal: Mapping[str, Any], metric: _Metric) -> dict[str, Any]:
    met = not metric["biased"] and metric["low"] >= goal["at_least"]
    where = "labels that were picked, which is no fair sample" if metric["biased"] else f"{metric['n']} rows"
    return {
        "name": "metric_reached",
        "value": metric["low"],
        "threshold": goal["at_least"],
        "met": met,
        "explanation": f"{goal['metric']} is {metric['low']:.3f} to {metric['high']:.3f}, measured on {where}.",
    }


def _recall(project: Project, labelled: Found, counted: Counted, told: RecallEstimate | None) -> dict[str, Any]:
    note = {"found": counted.found, "drawn": counted.drawn, "positives": counted.positives}
    if told is None:
        reason = "nothing_drawn" if project.holdout_fraction else "no_holdout"
        reason = reason if labelled.sample else "holdout_picked"
        return {**note, "recall": None, "remaining": None, "reason": reason}
    return {**note, "recall": asdict(told.recall), "remaining": asdict(told.remaining), "reason": None}


def _recall_rule(goal: Mapping[str, Any], labelled: Found, told: RecallEstimate | None) -> dict[str, Any]:
    wanted = goal.get("recall", RECALL)
    explanation = "No labelled example was drawn at random: set `holdout_fraction`."
    if labelled.sample is None:
        explanation = "A strategy or a filter picked some of the held-out part."
    if told is not None:
        explanation = f"With 95 % confidence at least {told.at_least:.1%} of the class are found."
    return {
        "name": "recall_reached",
        "value": None if told is None else told.at_least,
        "threshold": wanted,
        "met": told is not None and told.at_least >= wanted,
        "explanation": explanation,
    }
