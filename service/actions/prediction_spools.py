"""Checked predictions of an upload on disk, by row, and the chunks that they are written into."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.actions.prediction_rows import Said
from service.actions.predictions import Arrays
from service.storage.chunks import Chunk, ChunkWriter, chunk_key, open_dense, write_dense
from service.storage.objects import ObjectStore

# A chunk of uploaded predictions covers rows of one block, and what comes later is written into it anew: a row costs as
# much as its block at most.
_BLOCK_ROWS = 65_536
_BLOCK_BYTES = 2**24
_NUMBER_BYTES = 4

# so much is in memory at once
_TILE_ROWS = 4_096
_TILE_NUMBERS = 2**20


class Spool:
    """What rows say, in the order they came, in scratch files; as a context, it removes them."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._rows = array("q")
        self._files = ExitStack()
        self._writers: dict[str, ChunkWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._files.close()

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row of each."""
        return np.array(self._rows, dtype=np.int64)

    def add(self, rows: Sequence[int], said: Sequence[Said]) -> None:
        """Append what rows of the pool say; all hold the same."""
        if not rows:
            return
        self._rows.extend(rows)
        for name in ("predictions", "members", "vectors"):
            block = np.array([getattr(one, name) for one in said], dtype=np.float32)
            if block.size:
                self._writer(name, block.shape[1]).append(block)

    def _writer(self, name: str, columns: int) -> ChunkWriter:
        if name not in self._writers:
            self._writers[name] = self._files.enter_context(ChunkWriter(self._objects, columns=columns))
        return self._writers[name]

    @property
    def columns(self) -> dict[str, int]:
        """The width of what there is, by field of `Arrays`."""
        return {"told": 1, **{name: writer.columns for name, writer in self._writers.items()}}

    @property
    def block_rows(self) -> int:
        """Rows of a block: the same for all uploads into a version, as all of them hold the same."""
        width = sum(writer.columns for writer in self._writers.values())
        fitting = max(1, _BLOCK_BYTES // (_NUMBER_BYTES * width))
        return int(min(_BLOCK_ROWS, 2 ** (fitting.bit_length() - 1)))

    def take(self, name: str, places: NDArray[np.intp]) -> NDArray[Any]:
        """What was appended at some places, of a field of `Arrays`; the file is mapped for so long only."""
        if name == "told":
            return np.ones((len(places), 1), dtype=np.uint8)
        return self._writers[name].mapped()[places]


@dataclass(slots=True)
class Written:
    """Chunks that are in no list yet.

    Attributes:
        made: The new chunks, by field of `Arrays`; their arrays are not named yet.
        replaced: Keys of chunks whose rows they hold, too.
        created: How many rows had no prediction before.
        updated: How many had another.
        unchanged: How many had the same.
    """

    made: list[tuple[str, Chunk]] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    created: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class _Block:
    """The rows of an upload within a block.

    Attributes:
        first: The block's first row.
        rows: In the block, ascending [n].
        places: In the upload [n].
        had: Which had a prediction [n], once the marks were seen.
        same: Which have the same [n], once all arrays were seen.
    """

    first: int
    rows: NDArray[np.int64]
    places: NDArray[np.intp]
    had: NDArray[np.bool_]
    same: NDArray[np.bool_]

    @classmethod
    def of(cls, first: int, rows: NDArray[np.int64], places: NDArray[np.intp]) -> Self:
        """Nothing was seen yet."""
        return cls(first, rows, places, np.zeros(len(rows), dtype=np.bool_), np.ones(len(rows), dtype=np.bool_))

    def tiles(
        self, objects: ObjectStore, spool: Spool, name: str, old: Chunk | None, size: int
    ) -> Iterator[NDArray[Any]]:
        """An array's first `size` rows, some at a time: what is new, else what was, else zeros."""
        columns = spool.columns[name]
        step = max(1, min(_TILE_ROWS, _TILE_NUMBERS // columns))
        for first in range(0, size, step):
            last = min(first + step, size)
            tile = np.zeros((last - first, columns), dtype=np.uint8 if name == "told" else np.float32)
            if old is not None and first < old.rows:
                before = open_dense(objects, old)[first:last]
                tile[: len(before)] = before
            mine = slice(*np.searchsorted(self.rows, (first, last)))
            new, at = spool.take(name, self.places[mine]), self.rows[mine] - first
            if name == "told":
                self.had[mine] = tile[at, 0] != 0
            self.same[mine] &= (tile[at] == new).all(axis=1)
            tile[at] = new
            yield tile


def write(
    objects: ObjectStore, project_id: str, spool: Spool, kept: Mapping[str, Sequence[Chunk]], written: Written
) -> None:
    """Write what is spooled, and the rest of the same blocks from `kept`, as chunks into `written`.

    Args:
        objects: Where to.
        project_id: Whose.
        spool: With at least one row.
        kept: The chunks of the version until now, by field of `Arrays`.
        written: Knows of each chunk as soon as it is there, so that it can be deleted.
    """
    rows = spool.rows
    order = np.argsort(rows)
    block_rows = spool.block_rows
    blocks, starts = np.unique(rows[order] // block_rows, return_index=True)
    for number, places in zip(blocks.tolist(), np.split(order, starts[1:]), strict=True):
        block = _Block.of(number * block_rows, rows[places] - number * block_rows, places)
        old = {name: chunk for name, chunks in kept.items() for chunk in chunks if chunk.start == block.first}
        size = max([int(block.rows[-1]) + 1, *(chunk.rows for chunk in old.values())])
        for name in spool.columns:
            key = chunk_key(project_id, "external", block.first)
            tiles = block.tiles(objects, spool, name, old.get(name), size)
            written.made.append((name, write_dense(objects, key, tiles, array="", start=block.first)))
        written.replaced += [chunk.key for chunk in old.values()]
        written.created += int(np.count_nonzero(~block.had))
        written.unchanged += int(np.count_nonzero(block.had & block.same))
        written.updated += int(np.count_nonzero(block.had & ~block.same))


def named(made: Sequence[tuple[str, Chunk]], arrays: Arrays) -> list[Chunk]:
    """The chunks as those of a version's arrays."""
    return [replace(chunk, array=getattr(arrays, name)) for name, chunk in made]
