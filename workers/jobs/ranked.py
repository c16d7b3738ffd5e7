"""From a ranking to the rows of a batch, with what the model says of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.actions.batches import Ranked
from service.actions.predictions import prediction
from service.catalog.tasks import Task
from workers.learning.matrices import ChunkReader
from workers.learning.query import Ranking


@dataclass(frozen=True, slots=True)
class Shown:
    """What clients see of predictions P [rows, columns of the task]; nothing without them."""

    task: Task
    P: ChunkReader | None
    classes: list[str]
    told: NDArray[np.bool_] | None = None  # for which rows there are any; None: for all

    def of(self, rows: NDArray[np.int64]) -> Mapping[int, dict[str, Any]]:
        """By row."""
        if self.P is None or rows.size == 0:
            return {}
        rows = rows if self.told is None else rows[self.told[rows]]
        said = np.asarray(self.P.take(rows)).tolist()
        return {row: prediction(self.task, self.classes, one) for row, one in zip(rows.tolist(), said, strict=True)}


def ranked_rows(
    ranking: Ranking, shown: Shown, *, priorities: NDArray[np.float64] | None = None, held_share: int | None = None
) -> list[Ranked]:
    """The ranking's rows with what the model says of them, and with the priorities by which they were ranked."""
    predictions = shown.of(ranking.rows)
    holdout = held_share is not None
    at_random = min(1.0, (held_share or 0) / max(ranking.candidates, 1))
    first = (
        np.zeros(ranking.rows.size) if priorities is None else np.where(ranking.explore, 0, priorities[ranking.rows])
    )
    return [
        Ranked(
            row=row,
            score=float(score),
            value=float(value),
            strategy="holdout" if holdout else ("random" if explore else ranking.ranked_by),
            explore=bool(explore) or holdout,
            propensity=at_random if holdout else (propensity if explore else None),
            prediction=predictions.get(row),
            priority=priority,
        )
        for row, score, value, explore, propensity, priority in zip(
            ranking.rows.tolist(),
            ranking.scores,
            ranking.values,
            ranking.explore,
            ranking.propensities.tolist(),
            first.tolist(),
            strict=True,
        )
    ]
