"""What measuring processes do, by name. Imported in them only: it loads what trains and ranks."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from service.catalog.parameters import resolve, with_codes
from service.catalog.strategies import STRATEGIES
from service.cli import bench_floor
from service.cli.bench_arrays import CLASSES, LABELLED, MEMBERS, NAMES, Arrays, clouds, write
from service.cli.bench_child import NO_MEMORY_CODE, NOT_INSTALLED_CODE, Measured, repeat
from service.cli.bench_peers import peer
from service.cli.bench_pools import lay_pool, scale
from workers.learning.estimators.committee import Committee
from workers.learning.estimators.training import TrainingRequest, train
from workers.learning.matrices import TILE, ArrayReader, grid
from workers.learning.parallel import Parallel, single_threaded
from workers.learning.query import LabelledRows, Query
from workers.learning.selection import rank

K = 100
RESERVE = 2 * K
"""What a query for a batch of `K` ranks beyond it."""

Work = Callable[..., Measured]


def prepare(folder: Path, *, rows: int, columns: int, committee: bool = False) -> Measured:
    """Write the arrays that the other works read."""
    write(folder, rows, columns, committee=committee)
    return Measured({})


def ranking(folder: Path, *, rows: int, strategy: str, params: dict[str, Any]) -> Measured:
    """Rank by a strategy, with predictions that are kept already."""
    query = _query(Arrays(folder, rows), strategy, params)
    return repeat({"rank": lambda: rank(query)})


def committee(folder: Path, *, rows: int, strategy: str) -> Measured:
    """The members' predictions and a ranking by their disagreement, and the same in plain numpy, in turns."""
    arrays = Arrays(folder, rows)
    query = _query(arrays, strategy, {})
    file = folder / f"members-{os.getpid()}.npy"

    def ours() -> None:
        members = _ask(arrays.committee, arrays.X, file)
        rank(replace(query, members=ArrayReader(members)))

    W, b = _coefficients(arrays)
    try:
        return repeat({"rank": ours, "numpy": lambda: _plain_committee(arrays.X, W, b, strategy)})
    finally:
        file.unlink(missing_ok=True)


def fit(folder: Path, *, rows: int, columns: int) -> Measured:
    """Fit logistic regression with a given C, the same in plain scikit-learn, and with C chosen on the labels."""
    del folder
    X, y = clouds(np.random.default_rng(1), rows, columns)

    def ours(**params: Any) -> Any:
        return train(TrainingRequest(X=X, y=y, classes=NAMES, params=params, background=X[:2_000]))

    model = ours(C=10.0)
    scaler, kind, settings = model.pipeline[:-1], type(model.pipeline[-1]), model.pipeline[-1].get_params()

    def plain() -> None:
        kind(**settings).fit(scaler.transform(X.astype(np.float64)), y)

    def plain_alone() -> None:
        with single_threaded():
            plain()

    # Which of the two is quicker depends on what else the machine does.
    kinds = {"scikit-learn": plain, "scikit-learn, one BLAS thread": plain_alone}
    fits = repeat({"fit": lambda: ours(C=10.0), **kinds})
    chosen = repeat({"choosing": ours}, fewest=1)
    return Measured({**fits.seconds, **chosen.seconds}, max(fits.mib, chosen.mib))


def _query(arrays: Arrays, strategy: str, params: Mapping[str, Any]) -> Query:
    entry = STRATEGIES[strategy]
    candidates = np.ones(arrays.rows, dtype=np.bool_)
    candidates[:LABELLED] = False
    return Query(
        strategy=strategy,
        params=with_codes(entry.parameters, resolve(entry.parameters, params), NAMES),
        k=K,
        reserve=RESERVE,
        candidates=candidates,
        classes=CLASSES,
        features=ArrayReader(arrays.X),
        probabilities=ArrayReader(arrays.P),
        model=arrays.model if "model" in entry.needs else None,
        labelled=LabelledRows(np.arange(LABELLED), np.asarray(arrays.y[:LABELLED])),
        labels_count=LABELLED,
        parallel=Parallel("threads", os.cpu_count() or 1),
    )


@dataclass(frozen=True, slots=True)
class _Members:
    committee: Committee
    X: NDArray[np.float32]

    def __call__(self, tile: tuple[int, int]) -> tuple[int, int, NDArray[np.float32]]:
        start, stop = tile
        return start, stop, self.committee.predictions(self.X[start:stop])


def _ask(found: Committee, X: NDArray[np.float32], file: Path) -> NDArray[np.float32]:
    """What the members say of all rows, kept in a file as a job keeps it."""
    flat = open_memmap(file, mode="w+", dtype=np.float32, shape=(X.shape[0], MEMBERS * CLASSES))
    tiles = grid(X.shape[0], 0, TILE)
    for start, stop, P in Parallel("threads", os.cpu_count() or 1).map(_Members(found, X), tiles):
        flat[start:stop] = P
    flat.flush()
    return flat.view(np.ndarray)


def _coefficients(arrays: Arrays) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """W [members, classes, d] and b [members, classes]: any figures cost the same."""
    rng = np.random.default_rng(2)
    shape = (MEMBERS, CLASSES, arrays.X.shape[1])
    return rng.normal(scale=0.1, size=shape).astype(np.float32), rng.normal(size=shape[:2]).astype(np.float32)


def _plain_committee(
    X: NDArray[np.float32], W: NDArray[np.float32], b: NDArray[np.float32], strategy: str
) -> NDArray[np.intp]:
    members = np.stack([bench_floor.softmax(X @ own.T + intercept) for own, intercept in zip(W, b, strict=True)])
    return bench_floor.top(bench_floor.COMMITTEE[strategy](members), K)


WORKS: Mapping[str, Work] = {
    "prepare": prepare,
    "rank": ranking,
    "committee": committee,
    "fit": fit,
    "peer": peer,
    "lay_pool": lay_pool,
    "scale": scale,
}


def main() -> None:
    """Do the named work and print what it measured."""
    work, arguments = sys.argv[1:]
    values = json.loads(arguments)
    folder = Path(values.pop("folder"))
    try:
        found = WORKS[work](folder, **values)
    except MemoryError:
        sys.exit(NO_MEMORY_CODE)
    except ModuleNotFoundError:  # of another library: ours are imported above
        sys.exit(NOT_INSTALLED_CODE)
    print(json.dumps({"seconds": dict(found.seconds), "mib": found.mib}))  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    main()
