"""Labels under review: what models say of labelled examples that they were trained without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.db.tables import Model, Project
from workers.jobs.labels import Labelled
from workers.jobs.pool import counts_terms
from workers.learning.confidence import class_thresholds, judge
from workers.learning.estimators.training import TrainingRequest
from workers.learning.matrices import ChunkReader, sample_rows
from workers.learning.metrics import cross_validated_probabilities
from workers.learning.parallel import Parallel

_FOLDS = 5
_BACKGROUND = 10_000
_FEWEST = 2


@dataclass(frozen=True)
class Review:
    """Out-of-sample probabilities [n, classes] of labelled examples, and the class that each rather has [n]."""

    P: NDArray[np.float32]
    suggested: NDArray[np.int64]


def why_not(labelled: Labelled) -> str | None:
    """Why labels cannot be judged, or None: it takes two labels of each of two classes."""
    counts = np.bincount(labelled.y)
    if np.count_nonzero(counts) == 1:
        return "one_class"
    return "too_few_labels" if np.sum(counts >= _FEWEST) <= 1 else None


def review(
    project: Project,
    model: Model | None,
    labelled: Labelled,
    *,
    features: ChunkReader,
    present: NDArray[np.bool_],
    seed: int,
    parallel: Parallel,
) -> Review:
    """Cross-validate with the serving model's hyper-parameters, or the project's while there is none.

    Args:
        project: whose estimator trains.
        model: the one that serves.
        labelled: training examples, of which `why_not` says nothing.
        features: of every row.
        present: rows that hold an example, to learn scales or IDF from.
        seed: of folds and estimators.
        parallel: for the folds.
    """
    rng = np.random.default_rng(seed)
    request = TrainingRequest(
        X=features.take(labelled.rows),
        y=labelled.y,
        classes=project.task["classes"],
        estimator=project.estimator["name"],
        params={**project.estimator["params"], **_chosen(project, model)},
        seed=seed,
        background=sample_rows(features, present, _BACKGROUND, rng),
        text=counts_terms(project.features),
    )
    P = cross_validated_probabilities(request, _FOLDS, parallel)
    return Review(P, judge(P, labelled.y, class_thresholds(P, labelled.y)).suggested)


def _chosen(project: Project, model: Model | None) -> Mapping[str, Any]:
    if model is None or model.estimator["name"] != project.estimator["name"]:
        return {}
    chosen: Mapping[str, Any] = model.estimator["chosen"]
    return chosen


def label_names(labelled: Labelled, codes: NDArray[np.int64], classes: Sequence[str]) -> dict[int, str]:
    """The class names of `codes` [n] by row."""
    return {row: classes[code] for row, code in zip(labelled.rows.tolist(), codes.tolist(), strict=True)}
