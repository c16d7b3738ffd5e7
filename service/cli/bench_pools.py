"""Pools in chunks, laid down as the service does it, and what work over them takes by the number of processes."""

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from service.catalog.parameters import resolve
from service.catalog.strategies import STRATEGIES
from service.cli import bench_processes as processes
from service.cli.bench_arrays import CLASSES, LABELLED, NAMES, around, centres
from service.cli.bench_child import MIB, Measured, peak
from service.storage.chunks import Chunk, chunk_key, delete_chunk, write_dense
from service.storage.local import LocalObjects
from workers.jobs.readers import DenseReader
from workers.jobs.writing import WriteChunk
from workers.learning.estimators.model import TrainedModel
from workers.learning.estimators.training import TrainingRequest, train
from workers.learning.matrices import GRID, grid
from workers.learning.parallel import Parallel
from workers.learning.query import LabelledRows, Query
from workers.learning.scoring import Predict
from workers.learning.selection import rank

RANKED_BY = ("margin", "k_center")
RUNS = 3
_COLUMNS = 64
_K = 100
_POOL = "pool"
_LIST, _MODEL = "vectors.json", "model.skops"
_CHUNK_ROWS = 1_000_000
_WRITTEN_AT_ONCE = 65_536
_PREDICTED_AT_ONCE = 4 * GRID  # as by a cluster
_PIECE_BYTES = 8 * MIB


def lay_pool(folder: Path, *, rows: int) -> Measured:
    """Bring the pool in `folder` up to `rows`, in chunks of a million, and write a model for it."""
    objects, laid = LocalObjects(folder), _laid(folder)
    middles = centres(np.random.default_rng(0), _COLUMNS)
    began = time.perf_counter()
    for start, stop in grid(rows, laid[-1].stop if laid else 0, _CHUNK_ROWS):
        rng = np.random.default_rng([1, start])
        blocks = (around(middles, rng, last - first)[0] for first, last in grid(stop, start, _WRITTEN_AT_ONCE))
        laid.append(write_dense(objects, chunk_key(_POOL, "vectors", start), blocks, array="vectors", start=start))
    seconds = time.perf_counter() - began
    (folder / _LIST).write_text(json.dumps([asdict(chunk) for chunk in laid]))
    X, y = around(middles, np.random.default_rng(2), LABELLED)
    model = train(TrainingRequest(X=X, y=y, classes=NAMES, background=X))
    (folder / _MODEL).write_bytes(model.dump())
    return Measured({"write": seconds})


def scale(folder: Path, *, jobs: int) -> Measured:
    """Medians of work over the pool in `folder` by so many processes: seconds, seconds of processors, MiB at the peak.

    `read`: all bytes of the vectors once, by one process. `predict`: what the model says of all rows, kept in chunks.
    Then a batch of 100 by each strategy, with predictions that are kept.
    """
    work = _Work(folder, Parallel("loky", jobs))
    work.predict()  # processes are started, and have imported what they need
    try:
        return _timed(work.actions())
    finally:
        work.parallel.close()


def _timed(actions: Mapping[str, Callable[[], None]]) -> Measured:
    me = os.getpid()
    found: dict[str, list[float]] = {}
    for _ in range(RUNS):
        for name, action in actions.items():
            before, began = processes.processor_seconds(me), time.perf_counter()
            with peak(lambda: processes.anonymous_in_all(me)) as most:
                action()
            found.setdefault(name, []).append(time.perf_counter() - began)
            found.setdefault(f"{name}, processors", []).append(processes.processor_seconds(me) - before)
            found.setdefault(f"{name}, MiB", []).append(max(most) / MIB)
    medians = {name: statistics.median(times) for name, times in found.items()}
    return Measured(medians, max(medians[f"{name}, MiB"] for name in actions))


class _Work:
    """What is measured over one pool."""

    def __init__(self, folder: Path, parallel: Parallel) -> None:
        self.parallel = parallel
        self._objects = LocalObjects(folder)
        self._vectors = _laid(folder)
        self._rows = self._vectors[-1].stop
        self._model = TrainedModel.load((folder / _MODEL).read_bytes(), class_count=CLASSES)
        self._predicted: list[Chunk] = []

    def actions(self) -> Mapping[str, Callable[[], None]]:
        """All of it by name."""
        return {"read": self._read, "predict": self.predict, **{name: partial(self._rank, name) for name in RANKED_BY}}

    def predict(self) -> None:
        """Have the model predict all rows, and forget what it said before."""
        work = WriteChunk(self._objects, _POOL, "predictions", Predict(self._model, self._features()))
        before = self._predicted
        self._predicted = list(self.parallel.over_chunks(work, grid(self._rows, 0, _PREDICTED_AT_ONCE)))
        for chunk in before:
            delete_chunk(self._objects, chunk)

    def _read(self) -> None:
        piece = bytearray(_PIECE_BYTES)
        for chunk in self._vectors:
            with self._objects.open(chunk.files[0]) as file:
                while file.readinto(piece):  # type: ignore[attr-defined] # every file of a disk has it
                    pass

    def _rank(self, strategy: str) -> None:
        entry, labelled = STRATEGIES[strategy], np.arange(LABELLED)
        candidates = np.ones(self._rows, dtype=np.bool_)
        candidates[labelled] = False
        rank(
            Query(
                strategy=strategy,
                params=resolve(entry.parameters, {}),
                k=_K,
                reserve=2 * _K,
                candidates=candidates,
                classes=CLASSES,
                features=self._features(),
                probabilities=self._reader(self._predicted, CLASSES),
                labelled=LabelledRows(labelled, labelled % CLASSES),
                labels_count=LABELLED,
                parallel=self.parallel,
            )
        )

    def _features(self) -> DenseReader:
        return self._reader(self._vectors, _COLUMNS)

    def _reader(self, chunks: Sequence[Chunk], columns: int) -> DenseReader:
        return DenseReader(self._objects, chunks, rows=self._rows, columns=columns)


def _laid(folder: Path) -> list[Chunk]:
    """The chunks of the vectors that are in a folder."""
    path = folder / _LIST
    return [Chunk(**record) for record in json.loads(path.read_text())] if path.exists() else []
