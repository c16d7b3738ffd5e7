"""The part of a pool that is only drawn from at random, and never trained on.

What a strategy has picked of it, when less or nothing was held out, is no part of that sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.actions.batches import Ranked
from service.db.queries.models import picked_rows
from service.db.tables import Project
from workers.jobs.groups import Groups
from workers.jobs.ranked import Shown, ranked_rows
from workers.learning.matrices import Rows
from workers.learning.query import Query, no_rows
from workers.learning.selection import rank
from workers.learning.ties import tie_keys


@dataclass(frozen=True)
class Picked:
    """Rows of labelled examples that batches asked for; others were labelled without, whatever is held out.

    Attributes:
        drawn: at random.
        otherwise: by a strategy, or at random out of what a filter left.
    """

    drawn: Rows = field(default_factory=no_rows)
    otherwise: Rows = field(default_factory=no_rows)


def read_picked(session: Session, project: Project) -> Picked:
    """Read how labelled examples were picked; nothing where no part is held out, as nobody asks then."""
    if not project.holdout_fraction:
        return Picked()
    found = picked_rows(session, project.id)
    rows, drawn = (
        np.array(list(found), dtype=np.int64),
        np.array(list(found.values()), dtype=np.bool_),
    )
    return Picked(rows[drawn], rows[~drawn])


def holdout_mask(rows: int, fraction: float, seed: int, groups: Groups | None = None) -> NDArray[np.bool_]:
    """Rows [rows] whose seeded hash, or that of their group, falls into the fraction.

    It is fixed for ever, whatever else is uploaded, and no group is on both sides.
    """
    if fraction <= 0:
        return np.zeros(rows, dtype=np.bool_)
    keys = np.arange(rows, dtype=np.int64) if groups is None else groups.keys
    return tie_keys(keys, seed, purpose="holdout") < np.uint64(fraction * 2**64)


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The held-out candidates of a query, in random order.

    Attributes:
        mask: which they are [rows].
        groups: codes by row; None: each row is by itself.
        share: how many of the batch come from them.
        seed: of the order.
        shown: what clients see of predictions.
    """

    mask: NDArray[np.bool_]
    groups: NDArray[np.int64] | None
    share: int
    seed: int
    shown: Shown

    def drawn(self) -> list[Ranked]:
        """The share, whatever the groups and priorities of its rows: it is to be a fair sample."""
        return self._first(self.mask, self.share, None)[0]

    def standing_by(self, ranked: Sequence[Ranked], count: int) -> tuple[list[Ranked], int]:
        """The next ones, at most one of a group and none of a group that is ranked, and how many that keeps out."""
        left, rows = self.mask.copy(), np.array([one.row for one in ranked], dtype=np.int64)
        left[rows] = False
        others = int(np.count_nonzero(left))
        if self.groups is not None:
            left &= ~np.isin(self.groups, self.groups[rows])
        found, mates = self._first(left, count, self.groups)
        return found, others - int(np.count_nonzero(left)) + mates

    def _first(self, mask: NDArray[np.bool_], count: int, groups: NDArray[np.int64] | None) -> tuple[list[Ranked], int]:
        """The first of some of them, and how many are left out for their groups."""
        if count == 0 or not mask.any():
            return [], 0
        query = Query(strategy="random", k=count, reserve=0, seed=self.seed, candidates=mask, classes=1, groups=groups)
        found = replace(rank(query), candidates=int(np.count_nonzero(self.mask)))
        return ranked_rows(found, self.shown, held_share=self.share), found.group_mates
