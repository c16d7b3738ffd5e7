"""Strategies whose candidates are labelled examples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from workers.learning.confidence import class_thresholds, judge
from workers.learning.strategies.base import Need, Selection, SelectionRequest, Selector
from workers.learning.ties import tie_keys

_DIGITS = 6


@dataclass(frozen=True, slots=True)
class LabelErrors(Selector):
    """Labels that confident learning contradicts (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068). O(n C).

    Its candidates are labelled rows, and the probabilities are out of sample, of models that were trained without the
    row. Candidates without a label come last.
    """

    needs: ClassVar[tuple[Need, ...]] = ("predictions", "labels")
    max_candidates: int = 10_000_000

    def select(self, request: SelectionRequest) -> Selection:
        """Pick contradicted labels first, then the others, each by p_label - p_suggested, which is the value."""
        labelled = request.labelled_y.size > 0
        thresholds = (
            class_thresholds(request.labelled_P, request.labelled_y) if labelled else np.full(request.classes, np.inf)
        )
        verdicts = judge(request.P, request.y, thresholds)
        order = np.lexsort((tie_keys(request.rows, request.seed), -np.round(verdicts.suspicion, _DIGITS)))
        picked = order[: request.count]
        return Selection(picked, verdicts.margins[picked], standby=verdicts.suspicion)


@dataclass(frozen=True, slots=True)
class Disputed(Selector):
    """Examples that split their annotators most evenly: vote entropy, Dagan and Engelson 1995. O(n log n)."""

    needs: ClassVar[tuple[Need, ...]] = ("answers",)
    compares_labelled: ClassVar[bool] = False
    max_candidates: int = 10_000_000

    def select(self, request: SelectionRequest) -> Selection:
        """Pick the highest entropies, which are the value."""
        entropies = request.disagreement
        order = np.lexsort((tie_keys(request.rows, request.seed), -np.round(entropies, _DIGITS)))
        picked = order[: request.count]
        return Selection(picked, entropies[picked], standby=np.round(entropies, _DIGITS))


SELECTORS: Mapping[str, type[Selector]] = {"label_errors": LabelErrors, "disputed": Disputed}
