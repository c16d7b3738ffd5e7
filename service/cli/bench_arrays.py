"""Arrays that strategies are measured on: clouds of vectors, and what a model of their first rows says of them all."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

if TYPE_CHECKING:
    from workers.learning.estimators.committee import Committee
    from workers.learning.estimators.model import TrainedModel

CLASSES = 10
LABELLED = 300
MEMBERS = 5
NAMES = [f"class {code}" for code in range(CLASSES)]
_AT_ONCE = 65_536


@dataclass(frozen=True)
class Arrays:
    """The first `rows` of what `write` has left in a folder, mapped; of them, the first `LABELLED` have labels."""

    folder: Path
    rows: int

    @cached_property
    def X(self) -> NDArray[np.float32]:
        """Vectors [rows, columns]."""
        return self._mapped("X")

    @cached_property
    def P(self) -> NDArray[np.float32]:
        """Class probabilities [rows, CLASSES] by `model`."""
        return self._mapped("P")

    @cached_property
    def y(self) -> NDArray[np.int64]:
        """Class codes [rows]."""
        codes: NDArray[np.int64] = np.load(self.folder / "y.npy", mmap_mode="r")[: self.rows]
        return codes

    @cached_property
    def model(self) -> "TrainedModel":
        """The model of the labelled rows."""
        from workers.learning.estimators.model import TrainedModel  # noqa: PLC0415 - the command must start quickly

        return TrainedModel.load((self.folder / "model.skops").read_bytes(), class_count=CLASSES)

    @cached_property
    def committee(self) -> "Committee":
        """Its committee of `MEMBERS` bootstrap replicates."""
        from workers.learning.estimators.committee import Committee  # noqa: PLC0415 - same

        return Committee.load((self.folder / "committee.skops").read_bytes(), class_count=CLASSES)

    def _mapped(self, name: str) -> NDArray[np.float32]:
        array: NDArray[np.float32] = np.load(self.folder / f"{name}.npy", mmap_mode="r")[: self.rows].view(np.ndarray)
        return array


def clouds(rng: np.random.Generator, rows: int, columns: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Overlapping clouds, one for each class: vectors [rows, columns] and codes [rows]."""
    return around(centres(rng, columns), rng, rows)


def centres(rng: np.random.Generator, columns: int) -> NDArray[np.float32]:
    """The middle of the cloud of each class [CLASSES, columns]."""
    return rng.normal(scale=0.5, size=(CLASSES, columns)).astype(np.float32)


def around(
    middles: NDArray[np.float32], rng: np.random.Generator, rows: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors [rows, columns] of clouds around `middles`, and codes [rows]."""
    codes = rng.integers(CLASSES, size=rows)
    vectors = rng.standard_normal((rows, middles.shape[1]), dtype=np.float32)
    vectors += middles[codes]
    return vectors, codes


def write(folder: Path, rows: int, columns: int, *, committee: bool) -> None:
    """Write the arrays, the model and, if wanted, the committee."""
    from workers.learning.estimators.committee import train_committee  # noqa: PLC0415 - the command must start quickly
    from workers.learning.estimators.training import TrainingRequest, train  # noqa: PLC0415 - same
    from workers.learning.parallel import Parallel  # noqa: PLC0415 - same

    folder.mkdir(parents=True)
    X, y = clouds(np.random.default_rng(0), rows, columns)
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    request = TrainingRequest(X=X[:LABELLED], y=y[:LABELLED], classes=NAMES, background=X[:2_000])
    model = train(request)
    (folder / "model.skops").write_bytes(model.dump())
    if committee:
        trained = train_committee(request, count=MEMBERS, kind="bootstrap", parallel=Parallel())
        (folder / "committee.skops").write_bytes(trained.dump())
    P = open_memmap(folder / "P.npy", mode="w+", dtype=np.float32, shape=(rows, CLASSES))
    for start in range(0, rows, _AT_ONCE):
        P[start : start + _AT_ONCE] = model.predictions(X[start : start + _AT_ONCE])
    P.flush()
