"""Sets of rows as bitmaps: eight rows a byte, the first row in the highest bit."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Change(NamedTuple):
    """Rows of [start, stop) that go in (`value`) or out: those of the packed `bits`, or all when it is None."""

    start: int
    stop: int
    bits: bytes | None
    value: bool


def pack(mask: NDArray[np.bool_]) -> bytes:
    """The bitmap of a mask."""
    return np.packbits(mask).tobytes()


def unpack(bits: bytes, count: int) -> NDArray[np.bool_]:
    """The mask of a bitmap of `count` rows.

    Raises:
        ValueError: The bitmap has another length.
    """
    if len(bits) != (count + 7) // 8:
        raise ValueError(f"{len(bits)} bytes are no bitmap of {count} rows")
    return np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=count).view(np.bool_)


def change_of(rows: NDArray[np.int64], *, value: bool) -> Change:
    """The smallest change that sets these rows (at least one, in any order)."""
    start, stop = int(rows.min()), int(rows.max()) + 1
    mask = np.zeros(stop - start, dtype=np.bool_)
    mask[rows - start] = True
    return Change(start, stop, None if mask.all() else pack(mask), value)


def apply_changes(mask: NDArray[np.bool_], changes: Iterable[Change]) -> None:
    """Apply changes to a mask in place, in order.

    Raises:
        ValueError: A change goes beyond the mask.
    """
    for change in changes:
        if not 0 <= change.start <= change.stop <= len(mask):
            raise ValueError(f"rows {change.start} to {change.stop} are not in a mask of {len(mask)}")
        part = mask[change.start : change.stop]
        chosen = slice(None) if change.bits is None else unpack(change.bits, len(part))
        part[chosen] = change.value
