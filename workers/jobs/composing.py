"""The batch of a strategy: its ranking, the held-out share, what is left to people, and gold questions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from service.actions.batches import Ranked
from service.actions.projects import gold_share_of
from service.catalog.sources import learns_from
from service.catalog.strategies import STRATEGIES
from workers.jobs import gold
from workers.jobs.asking import Loaded, asked_of, read_labels
from workers.jobs.context import JobContext
from workers.jobs.holdout import HeldOut
from workers.jobs.labels import Labelled
from workers.jobs.ranked import Shown, ranked_rows
from workers.jobs.serving import open_model
from workers.learning.estimators.training import Trained
from workers.learning.matrices import ChunkReader, Rows
from workers.learning.query import Ranking
from workers.learning.selection import rank


@dataclass(frozen=True, kw_only=True)
class Rowsets:
    """Which rows a batch may be made of.

    Attributes:
        mask: those that may be picked [rows].
        pinned: those of them that come first: the annotator's own leases, and what people shall audit.
        audit: the latter.
        held_out: the part that is drawn from at random only [rows].
        hidden: those whose labels no strategy may look at [rows].
        told: of which a model of the client's own says something [rows]; None: of all.
    """

    mask: NDArray[np.bool_]
    pinned: Rows
    audit: Rows
    held_out: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    told: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Seen:
    """What strategies may look at, by row: features, and what the model and its committee say."""

    features: ChunkReader | None
    P: ChunkReader | None = None
    members: ChunkReader | None = None


def compose(context: JobContext, loaded: Loaded, rows: Rowsets, seen: Seen) -> tuple[list[Ranked], Ranking, bool]:
    """The strategy's ranking, with the project's share from the held-out part of the pool, drawn at random.

    The last member says whether it holds everything that could be picked.
    """
    message = loaded.message
    # The share of a small batch is rounded at random, anew whenever the candidates have changed.
    rng = np.random.default_rng([message.seed, int(np.count_nonzero(rows.mask))])
    share = int(loaded.project.holdout_fraction * message.k + rng.random())
    shown = Shown(loaded.task, seen.P, loaded.model.classes if loaded.model else [], rows.told)
    held_out = _held_out(loaded, rows, share, shown)
    room = message.k - share
    questions = gold.chosen(
        _answerable(loaded.availability.gold, rows.told),
        np.array(loaded.availability.own, dtype=np.int64),
        message,
        share=gold_share_of(loaded.project),
        room=room,
        rng=rng,
    )
    first = np.concatenate([rows.pinned, questions])
    asked = asked_of(
        context,
        loaded,
        _labelled(context, loaded, rows.hidden),
        mask=rows.mask & ~rows.held_out,
        pinned=first,
        P=seen.P,
    )
    model = _opened(context, loaded, seen.features)
    chosen = rank(replace(asked, k=room, features=seen.features, members=seen.members, model=model))
    ranked = _audited(ranked_rows(chosen, shown, priorities=asked.priorities), rows.audit)
    ranked = gold.mixed_in(ranked, questions, room, rng)
    complete = len(ranked) < room + asked.reserve
    ranked = [*ranked[:room], *held_out.drawn(), *ranked[room:]]
    standing_by, mates = held_out.standing_by(ranked, message.k + asked.reserve)
    complete &= len(standing_by) < message.k + asked.reserve
    ranked += standing_by
    if gold.are_asked(loaded.project, message):
        ranked = gold.by_place(ranked)
    return ranked, replace(chosen, group_mates=chosen.group_mates + mates), complete


def _held_out(loaded: Loaded, rows: Rowsets, share: int, shown: Shown) -> HeldOut:
    mask = rows.mask & rows.held_out
    mask[rows.pinned] = False
    return HeldOut(
        mask=mask, groups=loaded.availability.group_codes, share=share, seed=loaded.message.seed, shown=shown
    )


def _answerable(questions: NDArray[np.int64], told: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Without those of which a model of the client's own says nothing: they would be known by that."""
    return questions if told is None else questions[told[questions]]


def _audited(ranked: list[Ranked], audit: NDArray[np.int64]) -> list[Ranked]:
    """Say of which rows people shall tell whether a model is right, without what it says."""
    rows = set(audit.tolist())
    return [replace(one, strategy="audit", prediction=None) if one.row in rows else one for one in ranked]


def _labelled(context: JobContext, loaded: Loaded, hidden: NDArray[np.bool_]) -> Callable[[], Labelled]:
    """Reads, once and when asked, the labelled examples that models are trained on and that are not hidden, by row.

    Most strategies never ask, and there may be a million of them.
    """
    learn_from = learns_from(loaded.project.retraining)
    return cache(lambda: read_labels(context, loaded, hidden, learn_from)[1])


def _opened(context: JobContext, loaded: Loaded, features: ChunkReader | None) -> Trained | None:
    """The serving model, for strategies that ask it about features of their own making."""
    model = loaded.model
    if model is None or features is None or model.name is not None:
        return None
    if "model" not in STRATEGIES[loaded.message.strategy].needs:
        return None
    return open_model(context, model, loaded.task, features.read(0, 1))
