"""BADGE: k-means++ over gradient embeddings, in their product form."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from workers.learning.strategies.base import Need, Selection, SelectionRequest, Selector
from workers.learning.ties import tie_keys

_BLOCK = 8_192  # its products with some centres stay in the cache
_ROWS_AT_ONCE = 8 * _BLOCK
_CENTRES_AT_ONCE = 16
_DRAWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradient embeddings g = (p - e) x [x, 1] of rows [n], never written out: g_i.g_j = (a_i.a_j)(x_i.x_j + 1).

    They are the gradients of the log loss by the weights and intercepts of a softmax layer on the features, with the
    most probable class in the place of the label; e is its indicator and a = p - e.
    """

    X: NDArray[np.float32]
    P: NDArray[np.float32]

    def squared_lengths(self) -> NDArray[np.float32]:
        """|g|^2 [n]."""
        lengths = np.empty(self.X.shape[0], dtype=np.float32)
        for start in range(0, lengths.size, _BLOCK):
            part = slice(start, start + _BLOCK)
            a = residuals(self.P[part])
            x = self.X[part]
            lengths[part] = np.einsum("ij,ij->i", a, a) * (np.einsum("ij,ij->i", x, x) + np.float32(1))
        return lengths

    def squared_distances(
        self, rows: slice | NDArray[np.intp], centres: NDArray[np.intp], lengths: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Squared distances [centres, rows]; `lengths` are all squared lengths [n]."""
        products = self.X[rows] @ self.X[centres].T
        products += np.float32(1)
        products *= residuals(self.P[rows]) @ (np.float32(-2) * residuals(self.P[centres])).T
        squares = np.ascontiguousarray(products.T)
        squares += lengths[centres][:, np.newaxis]
        squares += lengths[rows]
        return np.maximum(squares, 0, out=squares)


def residuals(P: NDArray[np.float32]) -> NDArray[np.float32]:
    """`P` [n, classes] less the indicator of each row's most probable class."""
    a = P.copy()
    a[np.arange(a.shape[0]), a.argmax(axis=1)] -= 1
    return a


@dataclass(frozen=True, slots=True)
class _Nearest:
    """One block's squared distance to the nearest of some centres and to those before, `squares`."""

    gradients: Gradients
    lengths: NDArray[np.float32]
    squares: NDArray[np.float32]
    centres: NDArray[np.intp]

    def __call__(self, start: int) -> NDArray[np.float32]:
        nearest = self.squares[start : start + _ROWS_AT_ONCE].copy()
        for at in range(0, nearest.size, _BLOCK):
            rows = slice(start + at, min(start + at + _BLOCK, start + nearest.size))
            to_centres = self.gradients.squared_distances(rows, self.centres, self.lengths)
            part = nearest[at : at + _BLOCK]
            np.minimum(part, to_centres.min(axis=0), out=part)
        return nearest


class _Sampler:
    """Exact D^2 sampling from distances that lag behind.

    Distances only fall as centres are added, so a row drawn by its old D^2 and kept with probability new / old is a
    draw by the new D^2. That leaves the rows' distances to be brought up to date for many centres at a time.
    """

    def __init__(self, request: SelectionRequest) -> None:
        self._request = request
        self._gradients = Gradients(request.X, request.P)
        self._rng = np.random.default_rng(request.seed)
        self._lengths = self._gradients.squared_lengths()
        self._behind: list[int] = []
        self._picked: list[int] = []
        self._cumulated = np.empty(0)
        self.squares = np.full(request.rows.size, np.inf, dtype=np.float32)

    def first(self) -> tuple[int, float]:
        """The row with the longest embedding, as in the authors' code, and its squared length."""
        ties = np.flatnonzero(self._lengths == self._lengths.max())
        pick = int(ties[np.argmin(tie_keys(self._request.rows[ties], self._request.seed))])
        self._take(pick)
        self.catch_up()
        return pick, float(self._lengths[pick])

    def draw(self) -> tuple[int, float] | None:
        """A row drawn by D^2, and its D^2; None when every row coincides with a pick."""
        if len(self._behind) >= _CENTRES_AT_ONCE:
            self.catch_up()
        drawn = self._tried()
        if drawn is None and self._behind:
            self.catch_up()
            drawn = self._tried()
        if drawn is not None:
            self._take(drawn[0])
        return drawn

    def catch_up(self) -> None:
        """Bring all rows' distances up to date."""
        if not self._behind:
            return
        nearest = _Nearest(self._gradients, self._lengths, self.squares, np.array(self._behind, dtype=np.intp))
        starts = range(0, self.squares.size, _ROWS_AT_ONCE)
        self.squares = np.concatenate(list(self._request.parallel.map(nearest, starts)))
        self.squares[self._picked] = 0
        self._behind = []
        self._cumulated = np.cumsum(self.squares, dtype=np.float64)

    def _tried(self) -> tuple[int, float] | None:
        """The first of some draws by the old distances that the new ones keep."""
        marks = self._rng.random(_DRAWS_AT_ONCE) * self._cumulated[-1]
        rows = np.minimum(np.searchsorted(self._cumulated, marks, side="right"), self.squares.size - 1)
        old = self.squares[rows]
        new = old
        if self._behind:
            behind = np.array(self._behind, dtype=np.intp)
            to_centres = self._gradients.squared_distances(rows, behind, self._lengths)
            to_centres[rows == behind[:, np.newaxis]] = 0
            new = np.minimum(old, to_centres.min(axis=0))
        kept = np.flatnonzero(self._rng.random(_DRAWS_AT_ONCE) * old < new)
        return (int(rows[kept[0]]), float(new[kept[0]])) if kept.size else None

    def _take(self, pick: int) -> None:
        self._behind.append(pick)
        self._picked.append(pick)


@dataclass(frozen=True, slots=True)
class Badge(Selector):
    """k-means++ seeding over gradient embeddings (Ash et al. 2020, arXiv 1906.03671).

    O(n k (d + C)) time and O(n (d + C)) memory: distances come from the product form of the embeddings, which have
    C (d + 1) numbers each. The longest embedding comes first, as in the authors' code; the others are drawn by D^2.
    The embeddings contain the intercept's gradient, which the authors leave out: comparable features are centred, so
    without it an example near the mean would have no gradient, however uncertain.
    """

    needs: ClassVar[tuple[Need, ...]] = ("features", "predictions")
    compares_labelled: ClassVar[bool] = False
    max_candidates: int = 1_000_000

    def select(self, request: SelectionRequest) -> Selection:
        """Pick by D^2; the value: the distance to the nearest embedding picked before, of the first its length."""
        sampler = _Sampler(request)
        picks = [sampler.first()]
        while len(picks) < request.count and (drawn := sampler.draw()):
            picks.append(drawn)
        sampler.catch_up()
        positions = np.array([position for position, _ in picks], dtype=np.intp)
        values = np.sqrt([square for _, square in picks])
        if positions.size < request.count:
            # All others coincide with a pick, as where the model is certain of everything: in random order.
            left = np.setdiff1d(np.arange(request.rows.size), positions)
            order = np.argsort(tie_keys(request.rows[left], request.seed), kind="stable")
            positions = np.concatenate([positions, left[order]])[: request.count]
            values = np.concatenate([values, np.zeros(request.count - values.size)])
        return Selection(positions, values, standby=sampler.squares.astype(np.float64))
