"""A report on annotators: how much they agree, and how good each of them is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.actions import projects
from service.db.queries import models as model_queries
from workers.jobs.context import JobContext
from workers.jobs.labels import Gathered, gather
from workers.learning.agreement import (
    agreement_of_each,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    krippendorff_alpha_interval,
    percent_agreement,
)
from workers.learning.answers import Numbers
from workers.learning.metric import wilson_interval
from workers.learning.truth import dawid_skene

_MOST_ANNOTATORS = 1_000
_MOST_CONFUSIONS = 5
_FIGURES = {
    "percent": percent_agreement,
    "cohen_kappa": cohen_kappa,
    "fleiss_kappa": fleiss_kappa,
    "krippendorff_alpha": krippendorff_alpha,
}
_OF_NUMBERS = "krippendorff_alpha"


def run(context: JobContext) -> None:
    """Compare the answers of the moment; without two to one example the figures are null, with the reason."""
    with context.read() as session:
        task = projects.get(session, context.project_id).task
        answers = model_queries.answers(session, context.project_id)
        gold = model_queries.gold_answers(session, context.project_id)
    gathered = gather(answers, task)
    context.progress.tell(0, 1, "comparing answers")
    questions = [
        {"annotator": annotator or None, "accuracy": _accuracy(right, answered)}
        for annotator, answered, right in gold[:_MOST_ANNOTATORS]
    ]
    found = {**report(gathered), "gold": questions}
    with context.fenced() as (session, _):
        context.finish(session, found)


def report(gathered: Gathered) -> dict[str, Any]:
    """What the job answers: see `service.api.schemas.agreement`."""
    answers = gathered.answers
    figures = _figures(gathered)
    return {
        "answers": int(answers.codes.size),
        "examples": answers.count,
        "examples_compared": int(np.count_nonzero(answers.given > 1)),
        "annotators_total": len(gathered.annotators),
        "annotators": _annotators(gathered),
        **{name: None if figure is None else round(figure, 6) for name, figure in figures.items()},
        "reasons": {name: _why_not(gathered, name) for name, figure in figures.items() if figure is None},
    }


def _figures(gathered: Gathered) -> dict[str, float | None]:
    """Of numbers the one that has a metric for them; of several classes an example those of the whole answer."""
    answers = gathered.answers
    if gathered.task != "regression":
        return {name: figure(answers) for name, figure in _FIGURES.items()}
    numbers = np.array(gathered.values, dtype=np.float64)[answers.codes]
    return {**dict.fromkeys(_FIGURES), _OF_NUMBERS: krippendorff_alpha_interval(answers, numbers)}


def _why_not(gathered: Gathered, figure: str) -> str:
    """Why a figure is not defined, when it is not."""
    if gathered.task == "regression" and figure != _OF_NUMBERS:
        return "numbers"
    if not gathered.annotators:
        return "no_answers"
    if len(gathered.annotators) == 1:
        return "one_annotator"
    return "no_variation" if (gathered.answers.given > 1).any() else "no_overlap"


def _annotators(gathered: Gathered) -> list[dict[str, Any]]:
    """Those with most answers, each against the others and, but for numbers, against the truth by Dawid and Skene."""
    answers, people = gathered.answers, len(gathered.annotators)
    classes = gathered.task != "regression"
    compared = (answers.given[answers.examples] > 1) & classes
    truth = dawid_skene(answers)[answers.examples] if classes else answers.codes
    given = np.bincount(answers.annotators, minlength=people)
    judged = np.bincount(answers.annotators, weights=compared, minlength=people).astype(np.int64)
    right = np.bincount(answers.annotators, weights=compared & (truth == answers.codes), minlength=people).astype(
        np.int64
    )
    agreement = agreement_of_each(answers, people)
    chosen = np.argsort(-given, kind="stable")[:_MOST_ANNOTATORS]
    confused = _confusions(gathered, truth, compared)
    return [
        {
            "annotator": gathered.annotators[a] or None,
            "answers": int(given[a]),
            "agreement": round(float(agreement[a]), 6) if judged[a] else None,
            "accuracy": _accuracy(int(right[a]), int(judged[a])),
            "confusions": confused.get(a, []),
        }
        for a in chosen.tolist()
    ]


def _accuracy(right: int, judged: int) -> dict[str, Any] | None:
    if judged == 0:
        return None
    low, high = wilson_interval(right, judged)
    return {"value": round(right / judged, 6), "low": round(low, 6), "high": round(high, 6), "n": judged}


def _confusions(gathered: Gathered, truth: Numbers, compared: NDArray[np.bool_]) -> dict[int, list[dict[str, Any]]]:
    """The mistakes that each annotator makes most often."""
    answers = gathered.answers
    wrong = compared & (truth != answers.codes)
    kinds = np.stack([answers.annotators[wrong], truth[wrong], answers.codes[wrong]])
    kinds, counts = np.unique(kinds, axis=1, return_counts=True)
    found: dict[int, list[dict[str, Any]]] = {}
    for place in np.lexsort((kinds[2], kinds[1], -counts)).tolist():
        annotator, true, said = kinds[:, place].tolist()
        mistakes = found.setdefault(annotator, [])
        if len(mistakes) < _MOST_CONFUSIONS:
            mistakes.append(
                {"truth": _named(gathered, true), "answer": _named(gathered, said), "count": int(counts[place])}
            )
    return found


def _named(gathered: Gathered, code: int) -> str | list[str]:
    """The class, or the classes, of an answer."""
    value = gathered.values[code]
    return gathered.classes[value] if gathered.task == "classification" else [gathered.classes[c] for c in value]
