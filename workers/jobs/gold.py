"""Gold questions: examples with a known answer among the others, which annotators cannot tell apart."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from service.actions.batches import Ranked
from service.db.tables import Project
from service.queue.messages import QueryMessage
from workers.learning.matrices import Rows


def share_of(project: Project) -> float:
    """Which share of an annotator's batches are gold questions."""
    share: float = project.annotation.get("gold_share", 0.0)
    return share


def chosen(gold: Rows, own: Rows, message: QueryMessage, *, share: float, room: int, rng: np.random.Generator) -> Rows:
    """The rows of the questions for a batch: those that were promised already, then others drawn at random.

    Of a ranking that is prepared for everybody half, as each annotator is given some of them only.
    """
    if not share or gold.size == 0:
        return gold[:0]
    wanted = message.k // 2 if message.prepared else int(share * message.k + rng.random())
    promised = np.isin(gold, own)
    count = min(max(wanted, int(np.count_nonzero(promised))), room, gold.size)
    return np.concatenate([gold[promised], rng.permutation(gold[~promised])])[:count]


def mixed_in(
    ranked: Sequence[Ranked], questions: NDArray[np.int64], room: int, rng: np.random.Generator
) -> list[Ranked]:
    """The questions at random places of the batch, with the figures of what follows; never more than others.

    Args:
        ranked: the questions anywhere among them, best first.
        questions: their rows.
        room: places in the batch.
        rng: draws the places.
    """
    rows = set(questions.tolist())
    gold, others = ([one for one in ranked if (one.row in rows) is asked] for asked in (True, False))
    gold = gold[: min(len(gold), len(others))]
    if not gold:
        return others
    size = min(len(others), room - len(gold)) + len(gold)
    places = set(rng.choice(size, len(gold), replace=False).tolist())
    left, waiting = iter(others), iter(gold)
    mixed, like = [], others[0]
    for place in range(size):
        if place in places:
            mixed.append(_alike(next(waiting), like))
        else:
            mixed.append(next(left))
            like = like if mixed[-1].explore else mixed[-1]
    return [*mixed, *left]


def _alike(question: Ranked, other: Ranked) -> Ranked:
    """A question that stands where another example could."""
    value = other.value if math.isnan(question.value) else question.value
    return replace(question, score=other.score, value=value, priority=other.priority)
