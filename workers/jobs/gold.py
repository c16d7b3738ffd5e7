"""Gold questions: examples with a known answer among the others, which annotators cannot tell apart."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from service.actions.batches import Ranked
from service.actions.projects import gold_share_of
from service.catalog.strategies import reviews
from service.db.tables import Project
from service.queue.messages import QueryMessage
from workers.learning.matrices import Rows

_FEWEST_PREPARED = 10


def are_asked(project: Project, message: QueryMessage) -> bool:
    """Whether a batch may have questions: programs, and batches that are for nobody by name, are asked none."""
    asked = message.prepared or (message.annotator is not None and not message.program)
    return asked and gold_share_of(project) > 0 and not reviews(message.strategy)


def chosen(gold: Rows, own: Rows, message: QueryMessage, *, share: float, room: int, rng: np.random.Generator) -> Rows:
    """The rows of the questions for a batch: those that were promised already, then others drawn at random.

    Of a ranking that is prepared for everybody twice the share, as each annotator is given some of them only.
    """
    if not share or gold.size == 0:
        return gold[:0]
    wanted = int(share * message.k + rng.random())
    if message.prepared:
        wanted = min(max(2 * wanted, _FEWEST_PREPARED), message.k // 2)
    promised = np.isin(gold, own)
    count = min(max(wanted, int(np.count_nonzero(promised))), room, gold.size)
    return np.concatenate([gold[promised], rng.permutation(gold[~promised])])[:count]


def mixed_in(
    ranked: Sequence[Ranked], questions: NDArray[np.int64], room: int, rng: np.random.Generator
) -> list[Ranked]:
    """The questions at random places of the batch, as what stands before them; never more than others.

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
    mixed, like = [], next((one for one in others if not one.explore), others[0])
    for place in range(size):
        if place in places:
            mixed.append(_alike(next(waiting), like))
        else:
            mixed.append(next(left))
            like = like if mixed[-1].explore else mixed[-1]
    return [*mixed, *left]


def _alike(question: Ranked, other: Ranked) -> Ranked:
    """A question that stands where another example could."""
    return replace(
        question,
        strategy=other.strategy,
        explore=other.explore,
        propensity=other.propensity,
        priority=other.priority,
        prediction=None if other.prediction is None else question.prediction,
    )


def by_place(ranked: Sequence[Ranked]) -> list[Ranked]:
    """All of a ranking with scores of their places, and without the strategy's figures: a question's own would tell."""
    return [replace(one, score=1 - place / len(ranked), value=math.nan) for place, one in enumerate(ranked)]
