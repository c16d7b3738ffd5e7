"""Who may be picked: examples of the pool that are not labelled enough and that nobody's skip has taken out.

Leases are not part of it: they end by themselves, so a query reads them as they are.
"""

from array import array

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.db.queries import examples as queries
from service.db.tables import Pool
from service.storage.bitmaps import Change, change_of

# rows further apart than this go into two changes: a gap costs a byte for eight rows, a change about this many bytes
_WIDEST_GAP = 2048


def is_candidate(*, split: str, label_count: int, skip_count: int, overlap: int) -> bool:
    """Whether an example in this state may be picked."""
    return split == "pool" and label_count < overlap and not is_out(skip_count, overlap)


def is_out(skip_count: int, overlap: int) -> bool:
    """Whether skips take an example out of everybody's pool."""
    return overlap == 1 and skip_count > 0


class Moves:
    """Rows that become candidates or no longer are, gathered over a transaction; the last word on a row counts."""

    def __init__(self) -> None:
        self._rows = array("q")
        self._values = array("b")

    def add(self, row: int, *, value: bool) -> None:
        """Let a row become a candidate, or no longer be one."""
        self._rows.append(row)
        self._values.append(value)

    def write(self, session: Session, pool: Pool) -> None:
        """Write what was gathered as few changes; the pool is locked."""
        if not self._rows:
            return
        # unique() gives the first of equal rows, so the order is turned round
        rows, last = np.unique(np.array(self._rows, dtype=np.int64)[::-1], return_index=True)
        values = np.array(self._values, dtype=np.bool_)[::-1][last]
        _write(session, pool, [*_changes(rows[~values], value=False), *_changes(rows[values], value=True)])
        self._rows, self._values = array("q"), array("b")


def enter(session: Session, pool: Pool, start: int, mask: NDArray[np.bool_]) -> None:
    """Let new rows from `start` on become candidates where `mask` says so; the pool is locked."""
    if not mask.any():
        return
    _write(session, pool, [change_of(np.flatnonzero(mask) + start, value=True)])


def reconsider(session: Session, pool: Pool, *, before: int, overlap: int) -> None:
    """Apply another overlap to the examples that were answered; the pool is locked."""
    moves = Moves()
    for row, split, label_count, skip_count in queries.answered(session, pool.project_id):
        value = is_candidate(split=split, label_count=label_count, skip_count=skip_count, overlap=overlap)
        moves.add(row, value=value)
        if label_count == 0:
            pool.examples_skipped += is_out(skip_count, overlap) - is_out(skip_count, before)
    moves.write(session, pool)
    session.flush()


def _write(session: Session, pool: Pool, made: list[Change]) -> None:
    rows = [change._asdict() for change in made]
    queries.add_changes(session, pool.project_id, first=pool.change_sequence + 1, made=rows)
    pool.change_sequence += len(rows)


def _changes(rows: NDArray[np.int64], *, value: bool) -> list[Change]:
    """Changes that set these rows, which ascend."""
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > _WIDEST_GAP) + 1) if len(rows) else []
    return [change_of(run, value=value) for run in runs]
