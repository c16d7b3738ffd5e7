"""One pool on which every strategy of the catalogue really runs, and what every answer promises."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.catalog.parameters import CLASS_FORMAT, required, resolve, with_codes
from service.catalog.strategies import STRATEGIES, reviews
from tests.learning.pools import blobs
from workers.learning.matrices import ArrayReader, Matrix, Rows
from workers.learning.query import LabelledRows, Query, Ranking
from workers.learning.selection import rank

ROWS, CLASSES, LABELLED, MEMBERS, K = 300, 3, 30, 5, 12

SCORERS = [name for name, entry in STRATEGIES.items() if entry.kind == "scorer" and "classification" in entry.tasks]

SINGLE = [name for name, entry in STRATEGIES.items() if "classification" in entry.tasks]

every_strategy = pytest.mark.parametrize("strategy", SINGLE)
every_scorer = pytest.mark.parametrize("strategy", [name for name in SCORERS if name != "random"])


@dataclass(frozen=True, slots=True)
class Softmax:
    """Softmax regressions with random weights: the serving model, or the members of a committee."""

    classes: int
    members: int = 1

    def predictions(self, X: Matrix) -> NDArray[np.float32]:
        """Probabilities [n, members x classes]."""
        rng = np.random.default_rng([self.classes, self.members])
        W = rng.normal(scale=0.3, size=(self.members * self.classes, X.shape[1]))
        logits = np.asarray(X.astype(np.float64) @ W.T).reshape(X.shape[0], self.members, self.classes)
        logits += rng.normal(scale=0.3, size=(self.members, self.classes))
        odds = np.exp(logits - logits.max(axis=2, keepdims=True))
        P: NDArray[np.float32] = (odds / odds.sum(axis=2, keepdims=True)).astype(np.float32)
        return P.reshape(X.shape[0], self.members * self.classes)


def copied_points(points: int, copies: int) -> NDArray[np.float32]:
    """Labelled rows, then `copies` of each of `points` rows, mixed."""
    rng = np.random.default_rng(9)
    X, _ = blobs(LABELLED + points, CLASSES, rng)
    return np.concatenate([X[:LABELLED], rng.permutation(np.repeat(X[LABELLED:], copies, axis=0))])


def params_of(strategy: str, classes: int = CLASSES, **given: Any) -> dict[str, Any]:
    """The strategy's parameters as a query has them: defaults, and the last class where one has to be named."""
    schema = STRATEGIES[strategy].parameters
    names = [f"class {code}" for code in range(classes)]
    formats = {name: schema["properties"][name]["format"] for name in required(schema)}
    assert set(formats.values()) <= {CLASS_FORMAT}
    chosen = {**dict.fromkeys(formats, names[-1]), **given}
    return with_codes(schema, resolve(schema, chosen, classes=names), names)


def make_query(strategy: str, X: Matrix | None = None, **changes: Any) -> Query:
    """A query of 12 among the rows of `X` behind the first 30, which are labelled, with a model and its committee."""
    X = blobs(ROWS, CLASSES, np.random.default_rng(5))[0] if X is None else X
    classes: int = changes.get("classes", CLASSES)
    candidates = np.arange(X.shape[0]) >= LABELLED
    # Where labels are reviewed the candidates have one as well.
    labelled = np.arange(X.shape[0] if reviews(strategy) else min(LABELLED, X.shape[0]))
    query = Query(
        strategy=strategy,
        params=params_of(strategy, classes),
        k=K,
        seed=3,
        candidates=candidates,
        classes=classes,
        features=ArrayReader(X),
        probabilities=ArrayReader(Softmax(classes).predictions(X)),
        members=ArrayReader(Softmax(classes, MEMBERS).predictions(X)),
        model=Softmax(classes),
        labelled=LabelledRows(labelled, labelled % classes),
        disagreement=np.log(1 + np.arange(X.shape[0]) % 3),
        labels_count=labelled.size,
    )
    return replace(query, **changes)


def array_of(reader: Any) -> Any:
    """Everything behind a reader."""
    return reader.read(0, reader.rows)


def mapped(query: Query, wrap: Callable[[Any], Any], *names: str) -> Query:
    """The query with `wrap` of each array behind its readers (all three, or those named)."""
    readers = names or ("features", "probabilities", "members")
    return replace(query, **{name: wrap(array_of(getattr(query, name))) for name in readers})


def ranked(query: Query, size: int | None = None) -> Ranking:
    """The answer: `size` rows (as many as were asked for) by the strategy that was named, with every promise kept."""
    ranking = rank(query)
    assert_sound(ranking, query, query.k + query.reserve if size is None else size)
    assert (ranking.strategy, ranking.fallback_from) == (query.strategy, None)
    return ranking


def assert_sound(ranking: Ranking, query: Query, size: int) -> None:
    """The promises that hold for every answer, by whatever strategy."""
    assert ranking.rows.size == size
    assert np.unique(ranking.rows).size == size
    assert query.candidates[ranking.rows].all()
    assert np.isfinite(ranking.scores).all()
    assert (np.diff(ranking.scores) <= 0).all()
    assert ranking.scores.shape == ranking.values.shape == ranking.explore.shape == (size,)


def assert_same(first: Ranking, second: Ranking) -> None:
    """Two answers agree to the last bit."""
    np.testing.assert_array_equal(first.rows, second.rows)
    np.testing.assert_array_equal(first.scores, second.scores)
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.explore, second.explore)


@contextmanager
def untouched(*arrays: Any) -> Iterator[None]:
    """Fails when one of the arrays is written to."""
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.setflags(write=False)
    yield
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def contents(query: Query, rows: Rows) -> list[bytes]:
    """What is in each of the rows: equal for copies."""
    return [row.tobytes() for row in array_of(query.features)[rows]]
