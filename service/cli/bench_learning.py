"""Cases that measure strategies and training on memory-mapped arrays, without the service around them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from service.catalog.entries import StrategyEntry
from service.catalog.parameters import required
from service.catalog.strategies import STRATEGIES
from service.cli.bench_arrays import LABELLED, NAMES
from service.cli.bench_child import Measured, measured
from service.cli.bench_figures import Figure

COLUMNS = 64
WIDE = 384
SMALL, MIDDLE, MILLION, TEN_MILLION = 100_000, 300_000, 1_000_000, 10_000_000
_GIB = 1024
_SCORER_MIB = 600
_PEER_SECONDS = 120.0
_LEAST = 1_000

# Seconds by strategy and rows; for the others by rows alone.
_AT_MOST: Mapping[tuple[str, int], float] = {
    ("k_center", SMALL): 0.5,
    ("k_center", MILLION): 6.0,
    ("badge", MILLION): 5.0,
    ("expected_error_reduction", 1_000): 3.0,
    ("expected_error_reduction", 10_000): 20.0,
}
_AT_MOST_OF_ALL: Mapping[int, float] = {SMALL: 3.0, MILLION: 20.0}

# What is measured elsewhere, or at sizes of its own.
_OTHERWISE = {"expected_error_reduction"}

_PEERS: Mapping[tuple[str, int], str] = {
    ("margin", MILLION): "scikit-activeml",
    ("badge", SMALL): "scikit-activeml",
    ("badge", MILLION): "scikit-activeml",
    ("k_center", SMALL): "scikit-activeml",
    ("k_center", MILLION): "scikit-activeml",
    ("typiclust", SMALL): "scikit-activeml",
    ("probcover", SMALL): "scikit-activeml",
    ("max_herding", SMALL): "scikit-activeml",
    ("drop_query", SMALL): "scikit-activeml",
    ("ranked_batch", SMALL): "modAL",
    ("information_density", SMALL): "modAL",
    ("expected_error_reduction", _LEAST): "modAL",
}


def strategies(folder: Path, *, quick: bool, large: bool) -> Iterator[Figure]:
    """A batch of 100 by every strategy of the catalogue that reads P or X, 10 classes, at growing pools."""
    sizes = [SMALL] if quick else [SMALL, MIDDLE, MILLION]
    sizes += [TEN_MILLION] if large else []
    arrays = _arrays(folder, sizes[-1], COLUMNS)
    most = (0.0, "")
    for name, entry in STRATEGIES.items():
        if "committee" in entry.needs or entry.picks == "labelled" or name in _OTHERWISE:
            continue
        for figure in _growing(arrays, name, entry, sizes, peers=not quick):
            most = max(most, (figure.parts.get("MiB", 0.0) if figure.at_most else 0.0, name))
            yield figure
    label = f"memory of any strategy, up to {_size(sizes[-1], COLUMNS)}"
    yield Figure(name=label, value=most[0], unit="MiB", at_most=_GIB, note=most[1])


def change(folder: Path, *, quick: bool) -> Iterator[Figure]:
    """Expected error reduction, with every candidate judged at the smaller size."""
    arrays = _arrays(folder, SMALL, COLUMNS)
    for rows in (_LEAST,) if quick else (_LEAST, 10_000):
        found = measured("rank", folder=arrays, rows=LABELLED + rows, strategy="expected_error_reduction", params={})
        yield _timed("expected_error_reduction", rows, found)
        if not quick:
            yield from _peer(arrays, "expected_error_reduction", rows, pool=LABELLED + rows)


def committee(folder: Path, *, quick: bool) -> Iterator[Figure]:
    """The committee's five predictions and a ranking by them, as ratios to the same in plain numpy."""
    rows = SMALL if quick else MILLION
    arrays = _arrays(folder, rows, COLUMNS, committee=True)
    for name, entry in STRATEGIES.items():
        if "committee" in entry.needs:
            found = measured("committee", folder=arrays, rows=rows, strategy=name)
            ratio = found.seconds["rank"] / found.seconds["numpy"]
            parts = {"s": found.seconds["rank"], "numpy s": found.seconds["numpy"], "MiB": found.mib}
            yield Figure(name=f"{name}, {_size(rows, COLUMNS)} / numpy", value=ratio, unit="x", at_most=2, parts=parts)


def fit(folder: Path, *, quick: bool) -> Iterator[Figure]:
    """Training on many labels, against scikit-learn with the same settings."""
    rows = 2_000 if quick else 10_000
    found = measured("fit", folder=folder, rows=rows, columns=WIDE)
    plain = {name: found.seconds[name] for name in ("scikit-learn", "scikit-learn, one BLAS thread")}
    ratio = found.seconds["fit"] / min(plain.values())
    name = f"logistic_regression, {_size(rows, WIDE)}"
    parts = {"s": found.seconds["fit"], **{f"{other} s": seconds for other, seconds in plain.items()}}
    yield Figure(name=f"{name} / scikit-learn", value=ratio, unit="x", at_most=1.3, parts=parts)
    yield Figure(name=f"{name}, C chosen on the labels", value=found.seconds["choosing"], unit="s")


def memory(folder: Path, *, quick: bool) -> Iterator[Figure]:
    """The most memory, not backed by files, that any scorer takes on a wide pool."""
    rows = SMALL if quick else MILLION
    arrays = _arrays(folder, rows, WIDE)
    taken = {
        name: measured("rank", folder=arrays, rows=rows, strategy=name, params=_params(entry, rows)).mib
        for name, entry in STRATEGIES.items()
        if entry.kind == "scorer" and "committee" not in entry.needs
    }
    most = max(taken, key=taken.__getitem__)
    name = f"memory of any scorer, {_size(rows, WIDE)}"
    yield Figure(name=name, value=taken[most], unit="MiB", at_most=_SCORER_MIB, note=most)


def _growing(folder: Path, name: str, entry: StrategyEntry, sizes: list[int], *, peers: bool) -> Iterator[Figure]:
    """One strategy at all sizes, other libraries beside it; with the last, the slope of log seconds over log rows."""
    times: dict[int, float] = {}
    for rows in sizes:
        found = measured("rank", folder=folder, rows=rows, strategy=name, params=_params(entry, rows))
        times |= {rows: found.seconds["rank"]} if found.seconds else {}
        slope = {}
        if rows == sizes[-1] and len(times) > 1:
            slope = {"slope": float(np.polyfit(np.log(list(times)), np.log(list(times.values())), 1)[0])}
        yield _timed(name, rows, found, slope)
        if peers:
            yield from _peer(folder, name, rows, pool=rows)


def _timed(name: str, rows: int, found: Measured, slope: Mapping[str, float] | None = None) -> Figure:
    return Figure(
        name=f"{name}, {_size(rows, COLUMNS)}",
        value=found.seconds.get("rank"),
        unit="s",
        at_most=_AT_MOST.get((name, rows), _AT_MOST_OF_ALL.get(rows)),
        parts={"MiB": found.mib, **(slope or {})},
        note=found.note,
    )


def _peer(folder: Path, name: str, rows: int, *, pool: int) -> Iterator[Figure]:
    library = _PEERS.get((name, rows))
    if library is None:
        return
    found = measured("peer", limit=_PEER_SECONDS, folder=folder, rows=pool, library=library, strategy=name)
    parts = {"MiB": found.mib} if found.mib else {}
    seconds = found.seconds.get("peer")
    yield Figure(name=f"  the same by {library}", value=seconds, unit="s", parts=parts, note=found.note)


def _params(entry: StrategyEntry, rows: int) -> dict[str, Any]:
    """The defaults, but exact where the catalogue allows it; what is required is a class."""
    params: dict[str, Any] = dict.fromkeys(required(entry.parameters), NAMES[0])
    rule = entry.parameters["properties"].get("max_candidates")
    if entry.name == "k_center" and rule:
        params["max_candidates"] = min(rows, rule["maximum"])
    return params


def _arrays(folder: Path, rows: int, columns: int, *, committee: bool = False) -> Path:
    """The folder of arrays of this size, written when it is first asked for."""
    path = folder / f"{rows}-{columns}{'-committee' if committee else ''}"
    if not path.exists():
        measured("prepare", folder=path, rows=rows, columns=columns, committee=committee)
    return path


def _size(rows: int, columns: int) -> str:
    return f"{rows:,} x {columns}"
