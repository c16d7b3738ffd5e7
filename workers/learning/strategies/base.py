"""The two shapes of a strategy. A query composes them: see `workers.learning.selection`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from workers.learning.matrices import ChunkReader, Matrix, Rows
from workers.learning.parallel import Parallel

Need = Literal["predictions", "committee", "features", "labels", "answers", "model"]
"""What a strategy ranks by: class probabilities P, those of a committee's members, features X, labels, the disagreement
of several answers, the model."""


def nothing() -> NDArray[np.float32]:
    """What stands for an array that a strategy does not need."""
    return np.empty((0, 0), dtype=np.float32)


class Predictor(Protocol):
    """The serving model, for strategies that ask it about features of their own making."""

    def predictions(self, X: Matrix) -> NDArray[np.float32]:
        """Class probabilities [n, classes] of rows `X` [n, d], as the project uploaded them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What a scorer sees of some rows: only what it needs, the rest is empty.

    Attributes:
        P: class probabilities [n, classes].
        members: class probabilities of each member of the committee [n, members, classes].
        X: features in comparable form [n, d] (see `workers.learning.space`).
    """

    P: NDArray[np.float32] = field(default_factory=nothing)
    members: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0, 0), dtype=np.float32))
    X: NDArray[np.float32] = field(default_factory=nothing)


class Scorer(ABC):
    """Ranks rows one by one."""

    __slots__ = ()

    needs: ClassVar[tuple[Need, ...]] = ("predictions",)

    def prepared(self, reference: NDArray[np.float32]) -> Self:  # noqa: ARG002 - for those that look at the pool
        """The scorer for a pool of which `reference` [m, d] is a random sample, in comparable form.

        Called once before any `score`, for scorers that need features.
        """
        return self

    @abstractmethod
    def score(self, block: Block) -> NDArray[np.float32]:
        """Scores [n] in [0, 1] of the block's rows, each of its row alone; higher = label sooner."""

    def value(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The figure that the strategy is named after [n], told from its score."""
        return scores


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionRequest:
    """What a selector picks from. All arrays are by position: row i of one is row i of the others.

    Attributes:
        rows: row numbers of the candidates [n], ascending, each with other features than the rest; never empty.
        count: how many to pick, at least 1 and at most n.
        classes: number of the project's classes.
        seed: of every random choice.
        X: candidates in comparable form [n, d]; empty unless features are needed.
        P: their class probabilities [n, classes]; empty unless predictions are needed.
        y: the candidates' class codes [n], -1 without a label; empty unless labels are needed.
        disagreement: of the candidates' annotators [n], in nats; empty unless answers are needed.
        scores: of the candidates [n], when a scorer has narrowed them.
        labelled_X: labelled rows in the same form [m, d]; m may be 0.
        labelled_y: their labels, as the task has them (class codes [m]).
        labelled_P: their class probabilities [m, classes]; empty unless labels and predictions are needed.
        features: of every row of the project, as uploaded; None when the project has none.
        model: the serving model, when it is needed.
        parallel: for work over blocks of rows.
    """

    rows: Rows
    count: int
    classes: int
    seed: int
    X: NDArray[np.float32] = field(default_factory=nothing)
    P: NDArray[np.float32] = field(default_factory=nothing)
    y: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    disagreement: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    scores: NDArray[np.float64] | None = None
    labelled_X: NDArray[np.float32] = field(default_factory=nothing)
    labelled_y: NDArray[Any] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    labelled_P: NDArray[np.float32] = field(default_factory=nothing)
    features: ChunkReader | None = None
    model: Predictor | None = None
    parallel: Parallel = field(default_factory=Parallel)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selector picked.

    Attributes:
        positions: into the candidates [count], distinct, best first.
        values: the strategy's figure of each pick [count]; NaN where it has none.
        standby: how soon each candidate would come after the picks [n], higher = sooner; None: in random order.
    """

    positions: NDArray[np.intp]
    values: NDArray[np.float64]
    standby: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Narrowing:
    """The candidates that a selector wants: the `count` best by `scorer`."""

    scorer: Scorer
    count: int


class Selector(ABC):
    """Picks a set, so that its members complete each other."""

    __slots__ = ()

    needs: ClassVar[tuple[Need, ...]] = ("features",)
    compares_labelled: ClassVar[bool] = True
    """Whether it looks at labelled rows; those of a selector that does not are not read."""
    max_candidates: int
    """The most candidates that it takes; of a larger pool the engine draws a seeded random sample."""

    def narrowing(self, count: int) -> Narrowing | None:  # noqa: ARG002 - for those that narrow
        """How candidates are preselected for a batch of `count`; None: all of them, up to `max_candidates`."""
        return None

    @abstractmethod
    def select(self, request: SelectionRequest) -> Selection:
        """Pick exactly `request.count` distinct candidates."""
