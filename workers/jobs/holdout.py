"""The part of a pool that is only drawn from at random, and never trained on.

What a strategy has picked of it, when less or nothing was held out, is no part of that sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.actions.batches import Ranked
from service.db.queries.models import picked_rows
from service.db.tables import Project
from workers.jobs.groups import Groups
from workers.learning.groups import first_of_group
from workers.learning.matrices import Rows
from workers.learning.query import no_rows
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


def of_other_groups(
    standing_by: Sequence[Ranked], ranked: Sequence[Ranked], groups: NDArray[np.int64] | None
) -> Sequence[Ranked]:
    """Those of which no other of their group is ranked, or stands by before them."""
    if groups is None:
        return standing_by
    rows = [each.row for each in (*ranked, *standing_by)]
    first = first_of_group(groups[rows])[len(ranked) :]
    return [each for each, is_first in zip(standing_by, first, strict=True) if is_first]
