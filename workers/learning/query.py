"""A query for the next examples and its answer, as arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import ChunkReader, Rows
from workers.learning.parallel import Parallel
from workers.learning.strategies.base import Predictor
from workers.learning.tasks import Task

Progress = Callable[[int, int, str], None]


def no_rows() -> Rows:
    """An empty list of rows."""
    return np.empty(0, dtype=np.int64)


class Labelled(Protocol):
    """Training rows with labels, ascending [n], and the labels as the task has them (class codes [n])."""

    @property
    def rows(self) -> Rows:
        """The rows."""
        ...

    @property
    def y(self) -> NDArray[Any]:
        """The labels."""
        ...


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Labelled rows that are in memory; called, they give themselves, as what reads them would."""

    rows: Rows = field(default_factory=no_rows)
    y: NDArray[Any] = field(default_factory=no_rows)

    def __call__(self) -> "LabelledRows":
        """Return itself."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to rank, and with what.

    Attributes:
        strategy: a catalogue name, with `params` as resolved by the catalogue.
        task: what labels are, and what `probabilities` hold.
        k: size of the batch.
        reserve: how many more to rank, to refill the batch with when others were faster.
        candidates: who may be picked, by row.
        features: of every row; None when the project has none.
        probabilities: P [rows, columns of the task] of the serving model; None when there is no model yet.
        members: P of each member of its committee [rows, members x columns of P]; None when it has none.
        model: the serving model itself; None unless the strategy needs it.
        classes: number of the project's classes; 0 for regression.
        labelled: gives the labelled rows; called only by what compares with them, as reading them takes long.
        disagreement: of the annotators of each row [rows], in nats; None unless candidates are labelled rows.
        labels_count: how many labelled examples the model has learnt.
        preselect: a scorer's name, its params and how many candidates it leaves to the strategy.
        explore: share of the batch that is drawn at random instead, in [0, 1].
        class_balanced: give each predicted class its share of the batch, classes with few labels first.
        priorities: of each row [rows]; rows of a higher one come first, whatever they score. None: all are equal.
        groups: a code of each row [rows]; of rows with the same code at most one is ranked, and none beside a pinned
            row. None: each row is by itself.
        pinned: rows that come first whatever they score (the annotator's own open leases).
        progress: called with rows done, rows in all and the phase.
    """

    strategy: str
    k: int
    candidates: NDArray[np.bool_]
    classes: int
    task: Task = "classification"
    params: Mapping[str, Any] = field(default_factory=dict)
    reserve: int = 0
    seed: int = 0
    features: ChunkReader | None = None
    probabilities: ChunkReader | None = None
    members: ChunkReader | None = None
    model: Predictor | None = None
    labelled: Callable[[], Labelled] = LabelledRows()
    disagreement: NDArray[np.float64] | None = None
    labels_count: int = 0
    preselect: tuple[str, Mapping[str, Any], int] | None = None
    explore: float = 0.0
    class_balanced: bool = False
    priorities: NDArray[np.float64] | None = None
    groups: NDArray[np.int64] | None = None
    pinned: Rows = field(default_factory=no_rows)
    parallel: Parallel = field(default_factory=Parallel)
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Rows to label, best first: the batch (`k` of them), then the reserve.

    Attributes:
        rows: [m], distinct.
        scores: [m], never rising: higher = label sooner.
        values: [m], the strategy's own figure (a margin, a distance); NaN where it has none for the row.
        explore: [m], drawn at random.
        propensities: [m], with which probability it was drawn at random; NaN where it was not.
        strategy: what was used, with its `params`; `fallback_from` names what was asked for when that is something
            else (or the scorer of `preselect`, when candidates were drawn at random instead), and `fallback_reason`
            why: `no_model`, `one_class`, `no_committee`, `no_features` or `no_labels`.
        ranked_by: the strategy that is at work within a composite such as `auto`, else `strategy`.
        candidates: how many could have been picked, pinned rows not counted.
        group_mates: how many of them are not ranked because another of their group is.
    """

    rows: Rows
    scores: NDArray[np.float64]
    values: NDArray[np.float64]
    explore: NDArray[np.bool_]
    propensities: NDArray[np.float64]
    strategy: str
    ranked_by: str
    params: Mapping[str, Any]
    fallback_from: str | None
    fallback_reason: str | None
    candidates: int
    group_mates: int
