"""The batch of a review: labelled examples whose label looks wrong, or is disputed."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from service.actions.batches import Provenance, Ranked
from workers.jobs import candidates
from workers.jobs.asking import Loaded, asked_of, provenance_of, read_labels
from workers.jobs.context import JobContext
from workers.jobs.pool import counts_terms
from workers.jobs.ranked import Shown, ranked_rows
from workers.jobs.readers import DenseReader, Overlay
from workers.jobs.review import REVIEWS, Review, ReviewRequest
from workers.learning.matrices import ChunkReader
from workers.learning.selection import rank


def review(
    context: JobContext,
    loaded: Loaded,
    *,
    base: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
    features: ChunkReader | None,
) -> tuple[list[Ranked], Provenance]:
    """The labelled training examples by what a review of their labels finds.

    Features are not shown to the ranking: of copies with different labels, one is wrong.
    """
    message = loaded.message
    gathered, labelled = read_labels(context, loaded, held_out)
    present = base.copy()
    present[labelled.rows] = True
    context.progress.tell(0, 1, "reviewing labels")
    found = REVIEWS[message.strategy](
        ReviewRequest(
            project=loaded.project,
            model=loaded.model,
            gathered=gathered,
            labelled=labelled,
            features=features,
            text=counts_terms(loaded.layout),
            present=present,
            groups=loaded.availability.group_codes,
            seed=message.seed,
            parallel=context.parallel,
        )
    )
    mask = np.zeros_like(base)
    mask[found.labelled.rows] = True
    mask, pinned = candidates.for_query(loaded.availability, mask)
    P = _reviewed_probabilities(context, loaded, found)
    asked = asked_of(context, loaded, lambda: found.labelled, mask=mask, pinned=pinned, P=P)
    asked = replace(asked, disagreement=_by_row(found, base.size))
    ranking = rank(replace(asked, strategy="random") if found.reason else asked)
    if found.reason:
        ranking = replace(ranking, fallback_from=message.strategy, fallback_reason=found.reason)
    shown = Shown(loaded.task, P, loaded.classes)
    rows = ranked_rows(ranking, shown, priorities=asked.priorities)
    ranked = _with_labels(rows, found, gathered.classes)
    complete = len(ranked) < asked.k + asked.reserve
    return ranked, provenance_of(loaded, ranking, mask, complete=complete)


def _reviewed_probabilities(context: JobContext, loaded: Loaded, found: Review) -> ChunkReader | None:
    if found.P is None:
        return None
    overlay = Overlay(found.labelled.rows, found.P)
    return DenseReader(context.objects, [], rows=loaded.layout.rows, columns=found.P.shape[1], overlay=overlay)


def _by_row(found: Review, rows: int) -> NDArray[np.float64] | None:
    if found.disagreement is None:
        return None
    by_row = np.zeros(rows)
    by_row[found.labelled.rows] = found.disagreement
    return by_row


def _with_labels(ranked: list[Ranked], found: Review, classes: Sequence[str]) -> list[Ranked]:
    """The ranked rows with the label that each has, and the one that it rather has."""
    places = np.searchsorted(found.labelled.rows, [each.row for each in ranked])
    current = [classes[code] for code in found.labelled.y[places]]
    suggested = [None] * len(ranked) if found.suggested is None else [classes[c] for c in found.suggested[places]]
    return [
        replace(each, current_label=now, suggested_label=rather)
        for each, now, rather in zip(ranked, current, suggested, strict=True)
    ]
