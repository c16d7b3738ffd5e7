"""Labels under review: what each strategy that picks labelled examples finds out about them before they are ranked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.db.tables import Model, Project
from workers.jobs.labels import Gathered, Labelled
from workers.learning.agreement import vote_entropy
from workers.learning.confidence import class_thresholds, judge
from workers.learning.estimators.folds import group_count
from workers.learning.estimators.training import TrainingRequest
from workers.learning.matrices import ChunkReader, sample_rows
from workers.learning.metrics import cross_validated_probabilities
from workers.learning.parallel import Parallel
from workers.learning.truth import dawid_skene

_FOLDS = 5
_BACKGROUND = 10_000
_FEWEST = 2


@dataclass(frozen=True, kw_only=True)
class ReviewRequest:
    """What can be looked at.

    Attributes:
        project: whose estimator trains.
        model: the one that serves.
        gathered: the answers to all labelled examples.
        labelled: the training examples among them, by row.
        features: of every row; None when the project has none.
        text: they are counts of terms.
        present: rows that hold an example, to learn scales or IDF from.
        groups: codes by row; None: each row is by itself.
        seed: of folds and estimators.
        parallel: for the folds.
    """

    project: Project
    model: Model | None
    gathered: Gathered
    labelled: Labelled
    features: ChunkReader | None
    text: bool
    present: NDArray[np.bool_]
    groups: NDArray[np.int64] | None
    seed: int
    parallel: Parallel


@dataclass(frozen=True, kw_only=True)
class Review:
    """Labelled examples that may be picked, and what is ranked by: the one or the other.

    Attributes:
        labelled: who may be picked.
        P: class probabilities by models that were trained without the example [n, classes].
        disagreement: of the examples' annotators, in nats [n].
        suggested: the class that each example rather has [n].
        reason: why they can only be drawn at random, or None.
    """

    labelled: Labelled
    P: NDArray[np.float32] | None = None
    disagreement: NDArray[np.float64] | None = None
    suggested: NDArray[np.int64] | None = None
    reason: str | None = None


def label_errors(request: ReviewRequest) -> Review:
    """Cross-validate with the serving model's hyper-parameters, or the project's while there is none."""
    project, labelled = request.project, request.labelled
    groups = None if request.groups is None else request.groups[labelled.rows]
    reason = _why_not(labelled, groups)
    if request.features is None or reason is not None:
        return Review(labelled=labelled, reason=reason or "no_features")
    rng = np.random.default_rng(request.seed)
    training = TrainingRequest(
        X=request.features.take(labelled.rows),
        y=labelled.y,
        classes=project.task["classes"],
        estimator=project.estimator["name"],
        params={**project.estimator["params"], **_chosen(project, request.model)},
        seed=request.seed,
        groups=groups,
        background=sample_rows(request.features, request.present, _BACKGROUND, rng),
        text=request.text,
    )
    P = cross_validated_probabilities(training, _FOLDS, request.parallel)
    suggested = judge(P, labelled.y, class_thresholds(P, labelled.y)).suggested
    return Review(labelled=labelled, P=P, suggested=suggested)


def disputed(request: ReviewRequest) -> Review:
    """How much annotators disagree where there are several, and what is most probable by their confusions."""
    answers = request.gathered.answers
    labelled = request.labelled.only((answers.given > 1)[request.labelled.places])
    return Review(
        labelled=labelled,
        disagreement=vote_entropy(answers)[labelled.places],
        suggested=dawid_skene(answers)[labelled.places],
    )


REVIEWS: Mapping[str, Callable[[ReviewRequest], Review]] = {"label_errors": label_errors, "disputed": disputed}
"""By strategy: those of the catalogue that pick labelled examples."""


def _why_not(labelled: Labelled, groups: NDArray[np.int64] | None) -> str | None:
    """Why labels cannot be judged, or None: it takes two labels of each of two classes, and two groups."""
    counts = np.bincount(labelled.y)
    if np.count_nonzero(counts) == 1:
        return "one_class"
    if np.sum(counts >= _FEWEST) <= 1:
        return "too_few_labels"
    return "one_group" if group_count(groups, labelled.size) < _FEWEST else None


def _chosen(project: Project, model: Model | None) -> Mapping[str, Any]:
    if model is None or model.estimator["name"] != project.estimator["name"]:
        return {}
    chosen: Mapping[str, Any] = model.estimator["chosen"]
    return chosen
