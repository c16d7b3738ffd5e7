"""The labelled sets that the efficiency benchmark plays on: Parquet files, or those that come with the project."""

from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.catalog.featurizers import FEATURIZERS
from service.catalog.parameters import resolve
from service.catalog.strategies import STRATEGIES
from workers.learning import datasets
from workers.learning.featurizers.tabular import SAMPLE, TabularEncoder
from workers.learning.featurizers.text import featurize
from workers.learning.matrices import Matrix, Rows
from workers.learning.simulate import Score, Simulation
from workers.learning.tasks import Task

_NOT_FEATURES = {"id", "label", "split"}
_FEW_VALUES, _REPEATED = 20, 0.05  # text of so many values, or of such a share of the rows, is a category
_TEST_SHARE = 0.4
_START, _START_PER_CLASS, _FEW_CLASSES = 20, 2, 10
_BATCH, _SMALL_BATCH, _SMALL_POOL = 20, 5, 700
# Where the rarest class has less than this share of the largest's rows, accuracy hardly sees it.
_BALANCED = 0.25


class SetError(ValueError):
    """A file that the benchmark cannot play on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSet:
    """Features [n, d] with the labels of all rows, as their task has them.

    `test` [n] are kept aside; None: by each seed anew.
    """

    name: str
    X: Matrix
    y: NDArray[Any]
    classes: int
    test: NDArray[np.bool_] | None
    text: bool
    task: Task = "classification"

    @property
    def score(self) -> Score:
        """Accuracy, or macro F1 where a class is rare; micro F1 of several classes, R2 of numbers."""
        if self.task != "classification":
            return "micro_f1" if self.task == "multi_label" else "r2"
        counts = np.bincount(self.y)
        return "accuracy" if counts.min() >= _BALANCED * counts.max() else "macro_f1"


@cache
def load(source: str) -> LabelledSet:
    """The set in the Parquet file `source`, or the one of that name that comes with the project.

    Raises:
        SetError: what is wrong with the file.
    """
    if source in datasets.NAMES:
        made = datasets.load(source, np.random.default_rng(0))
        text = isinstance(made.inputs, list)
        X = featurize(made.inputs, {}) if isinstance(made.inputs, list) else made.inputs
        return LabelledSet(name=source, X=X, y=made.y, classes=len(made.classes), test=made.test, text=text)
    return _read(Path(source))


def _read(path: Path) -> LabelledSet:
    """Columns: `text`, or `vector` (a list of one length), or `x0`, `x1`, …, or a table's; `label`; perhaps `split`.

    Labels and split of `NAME.<features>.parquet` may be in `NAME.parquet` beside it, row by row of the same `id`.
    """
    try:
        table = pq.read_table(path)
        if "label" not in table.column_names:
            table = _with_labels(table, path)
    except (OSError, pa.ArrowException) as error:
        raise SetError(f"{path} cannot be read as Parquet: {error}") from error
    y, classes, task = _labels(table["label"], path)
    X, text = _features(table, path)
    test = None
    if "split" in table.column_names:
        test = np.array([split == "test" for split in table["split"].to_pylist()])
        if test.all() or not test.any():
            raise SetError(f"{path}: `split` must name both test rows and others.")
    return LabelledSet(name=path.stem, X=X, y=y, classes=classes, test=test, text=text, task=task)


def _with_labels(table: pa.Table, path: Path) -> pa.Table:
    beside = path.with_name(path.name.split(".")[0] + ".parquet")
    if beside == path or not beside.exists():
        raise SetError(f"{path} has no column `label`.")
    labels = pq.read_table(beside)
    if "label" not in labels.column_names or not table["id"].equals(labels["id"]):
        raise SetError(f"{path} has no column `label`, and {beside} has no labels for the same ids in the same order.")
    for name in {"label", "split"} & set(labels.column_names):
        table = table.append_column(name, labels[name])
    return table


def _labels(labels: pa.ChunkedArray, path: Path) -> tuple[NDArray[Any], int, Task]:
    """Labels, how many classes they name, and the task that their type says: lists, numbers, or anything else."""
    kind = labels.type
    if labels.null_count:
        raise SetError(f"{path} has rows without a label.")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _several(labels.to_pylist())
    if pa.types.is_floating(kind):
        return np.asarray(labels, dtype=np.float64), 0, "regression"
    classes, codes = np.unique(np.array(pc.cast(labels, pa.string()).to_pylist()), return_inverse=True)
    if classes.size <= 1:
        raise SetError(f"{path} has labels of one class only.")
    return codes.astype(np.int64), int(classes.size), "classification"


def _several(rows: list[list[str]]) -> tuple[NDArray[np.int64], int, Task]:
    names = sorted({name for row in rows for name in row})
    place = {name: code for code, name in enumerate(names)}
    Y = np.zeros((len(rows), len(names)), dtype=np.int64)
    for row, chosen in zip(Y, rows, strict=True):
        row[[place[name] for name in chosen]] = 1
    return Y, len(names), "multi_label"


def _features(table: pa.Table, path: Path) -> tuple[Matrix, bool]:
    columns = [name for name in table.column_names if name[:1] == "x" and name[1:].isdecimal()]
    if "vector" in table.column_names:
        flat = table["vector"].combine_chunks().flatten()
        X = np.asarray(flat).astype(np.float32).reshape(table.num_rows, -1)
    elif columns:
        X = np.column_stack([np.asarray(table[name], dtype=np.float32) for name in columns])
    elif "text" in table.column_names:
        return featurize(table["text"].to_pylist(), {}), True
    elif names := [name for name in table.column_names if name not in _NOT_FEATURES]:
        return _encoded(table.select(names), path), False
    else:
        raise SetError(f"{path} has no columns with features: `vector`, `x0`, `text`, or those of a table.")
    if not np.isfinite(X).all():
        raise SetError(f"{path} has features that are not numbers.")
    return X, False


def _encoded(table: pa.Table, path: Path) -> Matrix:
    """Columns of a table as a project with `tabular` features has them."""
    fields = [{"name": name, "type": _field_type(table[name], path, name)} for name in table.column_names]
    rows = [{name: _as_json(value) for name, value in row.items()} for row in table.to_pylist()]
    params = resolve(FEATURIZERS["tabular"].parameters, {})
    sample = rows[:: max(1, -(-len(rows) // SAMPLE))]
    return TabularEncoder.fit(sample, fields, params).encode(rows)


def _field_type(column: pa.ChunkedArray, path: Path, name: str) -> str:
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return "date"
    if pa.types.is_boolean(kind):
        return "category"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return "category" if len(column.unique()) <= max(_FEW_VALUES, _REPEATED * len(column)) else "text"
    raise SetError(f"{path}: the column `{name}` is of no type that a field of a table has.")


def _as_json(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def simulation(
    made: LabelledSet, *, seed: int, cold: bool, budget: int, past: bool, find: bool = False, **choices: Any
) -> Simulation:
    """The loop of one seed.

    It starts from 20 rows drawn at random, 2 of each class where there are more than 10, and one of each class not
    drawn, or `cold`, without a label; 20 labels a batch, 5 where the pool has fewer than 700 rows. The same seed gives
    every strategy the same start. `past` the budget it goes on to the pool's end, in growing steps. What is measured is
    the score of the set, or, to `find` the rarest class, which share of it is labelled.
    """
    rng = np.random.default_rng(seed)
    test = made.test if made.test is not None else rng.permutation(len(made.y)) < int(_TEST_SHARE * len(made.y))
    pool = np.flatnonzero(~test)
    y = made.y[pool]
    small = pool.size < _SMALL_POOL
    if find:
        rarest = int(np.bincount(y, minlength=made.classes).argmin())
        choices |= {"target": rarest}
        if "target_class" in STRATEGIES[choices.get("strategy", "random")].parameters["properties"]:
            choices |= {"params": {"target_class": rarest}}
    return Simulation(
        X=made.X[pool],
        y=y,
        X_test=made.X[test],
        y_test=made.y[test],
        classes=made.classes,
        task=made.task,
        start=np.empty(0, dtype=np.int64) if cold else _start(y, made.task, rng),
        batch=_SMALL_BATCH if small and not cold else _BATCH,
        budget=min(budget, pool.size),
        limit=pool.size if past else None,
        score="found" if find else made.score,
        seed=seed,
        text=made.text,
        **choices,
    )


def _start(y: NDArray[Any], task: Task, rng: np.random.Generator) -> Rows:
    """Rows to label first, as far as the pool has them."""
    shuffled = rng.permutation(len(y))
    if task != "classification":
        return np.sort(shuffled[:_START])
    classes = np.unique(y)
    if classes.size > _FEW_CLASSES:
        of_each = [shuffled[y[shuffled] == code][:_START_PER_CLASS] for code in classes]
        return np.sort(np.concatenate(of_each))
    drawn = shuffled[:_START]
    missed = [shuffled[y[shuffled] == code][:1] for code in np.setdiff1d(classes, y[drawn])]
    return np.sort(np.concatenate([drawn, *missed]))
