"""The groups of a pool's examples as arrays by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.db.queries import candidates as queries
from workers.learning.matrices import Rows

_BEYOND_ROWS = 1 << 40  # so that no group has the key of a row


@dataclass(frozen=True)
class Groups:
    """Which rows belong together.

    Attributes:
        codes: by row; those without a group have codes of their own.
        keys: by row, the same for a group, and of the others their numbers: a group keeps its key whatever else is
            uploaded or deleted.
    """

    codes: NDArray[np.int64]
    keys: NDArray[np.int64]


def read_groups(session: Session, project_id: str, rows: int) -> Groups | None:
    """The groups of the rows below a high-water mark; none: each row is by itself."""
    found = queries.groups(session, project_id)
    if not found:
        return None
    grouped, group = numbered([told for _, told in found])
    codes = np.arange(rows, dtype=np.int64) + len(found)
    codes[grouped] = group
    keys = np.arange(rows, dtype=np.int64)
    named = np.fromiter((crc32(name.encode()) for name, _ in found), dtype=np.int64, count=len(found))
    keys[grouped] = named[group] + _BEYOND_ROWS
    return Groups(codes, keys)


def numbered(told: Sequence[str]) -> tuple[Rows, Rows]:
    """Rows out of texts, and which text each was in."""
    sizes = [text.count(" ") + 1 for text in told]
    return np.array(" ".join(told).split(" "), dtype=np.int64), np.repeat(np.arange(len(told)), sizes)
