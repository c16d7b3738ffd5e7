"""Checked predictions of an upload on disk, by row, and the chunks that they are written into."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.actions.prediction_rows import Said
from service.actions.predictions import Arrays, told_in
from service.storage.chunks import Chunk, ChunkWriter, chunk_key, open_dense, write_dense
from service.storage.objects import ObjectStore

BLOCK = 65_536
"""A chunk of uploaded predictions covers rows of one block of so many: what comes later is written into it anew."""

_TILE = 4_096


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
        for name in ("predictions", "members", "vector"):
            block = np.array([getattr(one, name) for one in said], dtype=np.float32)
            if block.size:
                self._writer(name, block.shape[1]).append(block)

    def _writer(self, name: str, columns: int) -> ChunkWriter:
        if name not in self._writers:
            self._writers[name] = self._files.enter_context(ChunkWriter(self._objects, columns=columns))
        return self._writers[name]

    def mapped(self) -> dict[str, NDArray[Any]]:
        """By field of `Arrays`, what there is of the rows [n, columns], mapped."""
        fields = {"predictions": "predictions", "members": "members", "vector": "vectors"}
        marks = np.broadcast_to(np.uint8(1), (len(self._rows), 1))
        return {"told": marks, **{fields[name]: writer.mapped() for name, writer in self._writers.items()}}


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
    rows, said = spool.rows, spool.mapped()
    order = np.argsort(rows)
    blocks, starts = np.unique(rows[order] // BLOCK, return_index=True)
    for block, places in zip(blocks.tolist(), np.split(order, starts[1:]), strict=True):
        first = block * BLOCK
        old = {name: chunk for name, chunks in kept.items() for chunk in chunks if chunk.start == first}
        stop = max([int(rows[places[-1]]) + 1, *(chunk.stop for chunk in old.values())])
        _count(objects, rows[places] - first, {name: found[places] for name, found in said.items()}, old, written)
        for name, found in said.items():
            key = chunk_key(project_id, "external", first)
            tiles = _tiles(objects, old.get(name), found, rows=rows[places] - first, places=places, size=stop - first)
            written.made.append((name, write_dense(objects, key, tiles, array="", start=first)))
        written.replaced += [chunk.key for chunk in old.values()]


def _tiles(
    objects: ObjectStore,
    old: Chunk | None,
    said: NDArray[Any],
    *,
    rows: NDArray[np.int64],
    places: NDArray[np.intp],
    size: int,
) -> Iterator[NDArray[Any]]:
    """The first `size` rows of a block, some at a time: of the `rows` what is new, else what was, else zeros."""
    before = None if old is None else open_dense(objects, old)
    for first in range(0, size, _TILE):
        last = min(first + _TILE, size)
        tile = np.zeros((last - first, said.shape[1]), dtype=said.dtype)
        if before is not None and first < len(before):
            tile[: len(before) - first] = before[first:last]
        begin, end = np.searchsorted(rows, (first, last))
        tile[rows[begin:end] - first] = said[places[begin:end]]
        yield tile


def _count(
    objects: ObjectStore,
    rows: NDArray[np.int64],
    said: Mapping[str, NDArray[Any]],
    old: Mapping[str, Chunk],
    written: Written,
) -> None:
    """Count what is new, what is another and what is the same among the rows of a block."""
    had = np.zeros(len(rows), dtype=np.bool_)
    same = np.ones(len(rows), dtype=np.bool_)
    for name, chunk in old.items():
        inside = np.flatnonzero(rows < chunk.rows)
        if name == "told":
            had[inside] = told_in(objects, chunk)[rows[inside]]
        same[inside] &= (open_dense(objects, chunk)[rows[inside]] == said[name][inside]).all(axis=1)
    written.created += int(np.count_nonzero(~had))
    written.unchanged += int(np.count_nonzero(had & same))
    written.updated += int(np.count_nonzero(had & ~same))


def named(made: Sequence[tuple[str, Chunk]], arrays: Arrays) -> list[Chunk]:
    """The chunks as those of a version's arrays."""
    return [_of_array(chunk, getattr(arrays, name)) for name, chunk in made]


def _of_array(chunk: Chunk, name: str) -> Chunk:
    return Chunk(name, chunk.start, chunk.stop, chunk.kind, chunk.key, chunk.columns, chunk.dtype)
