"""What the benchmark measures: cases, each on data of its own."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.cli import bench_learning, bench_tables
from service.cli import bench_processes as processes
from service.cli.bench_arrays import NAMES, clouds
from service.cli.bench_child import peak_anonymous
from service.cli.bench_figures import Figure, percentile
from service.cli.bench_floor import UNCERTAINTY, rank_files
from service.cli.client import CallError, Client, base64_vector, ndjson
from service.cli.embedded import Embedded, running

MIB = 1024 * 1024
DIMENSIONS = 64
SMALL, MILLION = 100_000, 1_000_000


@dataclass(frozen=True, slots=True)
class Bench:
    """What a case works with; `quick` asks for fewer repetitions and smaller pools, `large` for one of ten millions."""

    service: Embedded
    client: Client
    rng: np.random.Generator
    quick: bool
    large: bool = False

    @property
    def arrays(self) -> Path:
        """Where cases without the service keep their arrays."""
        return self.service.folder / "arrays"


def start(bench: Bench) -> Iterator[Figure]:
    """Start again on a folder that was used before, and look at the API process."""
    seconds, memory, loaded = [], [], False
    with tempfile.TemporaryDirectory(prefix="gleaner-bench-") as folder:
        with running(Path(folder)):
            pass
        for _ in range(1 if bench.quick else 3):
            with running(Path(folder)) as service:
                api = processes.child(service.process.pid, "serve")
                seconds.append(service.start_seconds)
                memory.append(processes.resident(api) / MIB)
                loaded |= processes.has_mapped(api, "sklearn", "scipy")
    yield Figure(name="second start until ready", value=statistics.median(seconds), unit="s", at_most=5)
    yield Figure(name="API memory after start", value=statistics.median(memory), unit="MiB", at_most=110)
    yield Figure(name="API has scikit-learn loaded", value=float(loaded), unit="0/1", at_most=0)


def overhead(bench: Bench) -> Iterator[Figure]:
    """Queries over 1,000 x 64 with a model, one after another; then single labels, with trainings as they come."""
    project_id = _project(bench)
    labels = _upload(bench, project_id, 1_000, labelled=200)
    bench.client.finished(bench.client.train(project_id))
    times = _query_times(bench.client, project_id, 20 if bench.quick else 200)
    yield Figure(name="query to batch, p50", value=percentile(times, 50), unit="ms", at_most=80)
    yield Figure(name="query to batch, p99", value=percentile(times, 99), unit="ms", at_most=250)
    bench.client.change_project(project_id, retraining={"automatic": True})
    fresh = [{"example_id": str(row), "label": labels[str(row)]} for row in range(200, 220 if bench.quick else 400)]
    times = [_timed(partial(bench.client.label, project_id, [label])) for label in fresh]
    yield Figure(name="POST of one label, p50", value=percentile(times, 50), unit="ms", at_most=15)
    yield Figure(name="POST of one label, p99", value=percentile(times, 99), unit="ms")


def training(bench: Bench) -> Iterator[Figure]:
    """Queries while nothing else runs, and while another project's long training runs."""
    project_id, other = _project(bench), _project(bench, estimator=("random_forest", {"n_estimators": 1000}))
    _upload(bench, project_id, 1_000, labelled=200)
    _upload(bench, other, 10_000, labelled=10_000)
    bench.client.finished(bench.client.train(project_id))
    count = 30 if bench.quick else 100
    idle = percentile(_query_times(bench.client, project_id, count), 50)
    job_id = bench.client.train(other)
    _wait_until_running(bench.client, job_id)
    busy = percentile(_query_times(bench.client, project_id, count), 50)
    if bench.client.call("GET", f"/v1/jobs/{job_id}")["state"] != "running":
        raise CallError("The training ended before the queries did: nothing was measured.")
    bench.client.call("POST", f"/v1/jobs/{job_id}/cancel")
    parts = {"idle ms": idle, "training ms": busy}
    yield Figure(name="query p50 during a training / idle", value=busy / idle, unit="x", at_most=2, parts=parts)


def upload(bench: Bench) -> Iterator[Figure]:
    """100,000 x 64 as NDJSON with base64 vectors, until the answer, and until a query has seen all of them."""
    rows = 100_000
    body = ndjson(_rows(clouds(bench.rng, rows, DIMENSIONS)[0]))
    api = processes.child(bench.service.process.pid, "serve")
    stored, queryable, growth = [], [], []
    for _ in range(1 if bench.quick else 3):
        project_id = _project(bench)
        processes.reset_peak(api)
        before = processes.resident(api)
        began = time.perf_counter()
        bench.client.upload(project_id, body)
        stored.append(rows / (time.perf_counter() - began))
        batch = bench.client.query(project_id, k=1, strategy="random")
        queryable.append(rows / (time.perf_counter() - began))
        growth.append((processes.peak_resident(api) - before) / MIB)
        if batch["pool"]["candidates"] != rows:
            raise CallError(f"A query saw {batch['pool']['candidates']} of {rows} uploaded rows.")
    parts = {"MB a body": len(body) / 1e6}
    speed = statistics.median(stored)
    yield Figure(name="upload, rows stored", value=speed, unit="rows/s", at_least=40_000, parts=parts)
    yield Figure(name="upload, until the first query's batch", value=statistics.median(queryable), unit="rows/s")
    yield Figure(name="API memory growth by an upload", value=max(growth), unit="MiB", at_most=64)


def table_upload(bench: Bench) -> Iterator[Figure]:
    """1,000,000 x 384 as one Arrow IPC stream, against writing the same bytes to the disk just before and after."""
    rows, wide = (SMALL if bench.quick else MILLION), 384
    path = bench.service.folder / "table.arrow"
    bench_tables.write_stream(path, bench.rng, rows, wide)
    floor = [bench_tables.seconds_to_write(path)]
    project_id = _project(bench, dimensions=wide)
    api = processes.child(bench.service.process.pid, "serve")
    processes.reset_peak(api)
    before = processes.resident(api)
    seconds = _timed(partial(bench.client.upload, project_id, bench_tables.pieces(path), bench_tables.ARROW))
    growth = (processes.peak_resident(api) - before) / MIB
    floor.append(bench_tables.seconds_to_write(path))
    batch = bench.client.query(project_id, k=1, strategy="random")
    if batch["pool"]["candidates"] != rows:
        raise CallError(f"A query saw {batch['pool']['candidates']} of {rows} uploaded rows.")
    plain = statistics.median(floor)
    parts = {"upload s": seconds, "write s": plain, "MB": path.stat().st_size / 1e6}
    name = f"upload of {rows:,} x {wide} as Arrow / writing the bytes"
    yield Figure(name=name, value=seconds / plain, unit="x", at_most=5, parts=parts)
    yield Figure(name="API memory growth by it", value=growth, unit="MiB", at_most=128)
    path.unlink()


def scoring(bench: Bench) -> Iterator[Figure]:
    """Margin over 200,000 x 64 by a new model: the worker's time from claim to batch, against plain numpy."""
    rows = 200_000
    project_id = _project(bench)
    labels = _upload(bench, project_id, rows, labelled=300)
    files = sorted((bench.service.folder / "objects" / "arrays" / project_id / "vectors").glob("*.npy"))
    worker, plain = [], []
    for row in range(300, 302 if bench.quick else 305):
        bench.client.label(project_id, [{"example_id": str(row), "label": labels[str(row)]}])
        bench.client.finished(bench.client.train(project_id))
        batch = bench.client.query(project_id, k=50, strategy="margin", lease_seconds=0)
        job = bench.client.call("GET", f"/v1/jobs/{batch['job_id']}")
        worker.append(_seconds_between(job["started_at"], job["finished_at"]))
        plain.append(
            _timed(lambda: rank_files(files, *_coefficients(bench.rng, DIMENSIONS), UNCERTAINTY["margin"], 50))
        )
    ours, numpy = 1000 * statistics.median(worker), 1000 * statistics.median(plain)
    parts = {"worker ms": ours, "numpy ms": numpy}
    yield Figure(name="score 200,000 x 64 / plain numpy", value=ours / numpy, unit="x", at_most=3, parts=parts)


def million(bench: Bench) -> Iterator[Figure]:
    """Rankings of 1,000,000 x 384 by new models and by models that have ranked before, against plain numpy."""
    rows, wide = (SMALL if bench.quick else MILLION), 384
    project_id = _project(bench, dimensions=wide)
    labels = _upload(bench, project_id, rows, labelled=300, dimensions=wide)
    files = sorted((bench.service.folder / "objects" / "arrays" / project_id / "vectors").glob("*.npy"))
    relabel = iter(range(300, rows))
    for name, figure in UNCERTAINTY.items():
        first, second, whole, floor = [], [], [], []
        for _ in range(1 if bench.quick else 5):
            _retrain(bench, project_id, labels, next(relabel))
            first.append(_worker_seconds(bench.client, project_id, strategy=name))
            began = time.perf_counter()
            second.append(_worker_seconds(bench.client, project_id, strategy=name))
            whole.append(time.perf_counter() - began)
            floor.append(_timed(lambda: rank_files(files, *_coefficients(bench.rng, wide), figure, 100)))  # noqa: B023
        plain = statistics.median(floor)
        size = f"{name}, {rows:,} x {wide}"
        for label, times, bound in (("first query", first, 1.5), ("second query", second, 0.3)):
            seconds = statistics.median(times)
            parts = {"worker s": seconds, "numpy s": plain}
            at_most = None if bench.quick else bound
            yield Figure(name=f"{size}, {label} / numpy", value=seconds / plain, unit="x", at_most=at_most, parts=parts)
        yield Figure(name=f"{size}, second query over HTTP", value=statistics.median(whole), unit="s", at_most=0.5)
    _retrain(bench, project_id, labels, next(relabel))
    with peak_anonymous(bench.service.process.pid) as peak:
        bench.client.query(project_id, k=100, strategy="margin", lease_seconds=0)
    name = f"worker memory, first query, {rows:,} x {wide}"
    yield Figure(name=name, value=max(peak) / MIB, unit="MiB", at_most=600)


def label_errors(bench: Bench) -> Iterator[Figure]:
    """The labels that look wrong among 100,000: the worker's time from claim to batch, cross-validation included."""
    rows = 10_000 if bench.quick else SMALL
    project_id = _project(bench)
    _upload(bench, project_id, rows, labelled=rows)
    bench.client.finished(bench.client.train(project_id))
    seconds = _worker_seconds(bench.client, project_id, strategy="label_errors")
    yield Figure(name=f"label_errors, {rows:,} x {DIMENSIONS} labelled", value=seconds, unit="s", at_most=10)


CASES: Mapping[str, Callable[[Bench], Iterator[Figure]]] = {
    "start": start,
    "overhead": overhead,
    "training": training,
    "upload": upload,
    "table_upload": table_upload,
    "scoring": scoring,
    "million": million,
    "label_errors": label_errors,
    "strategies": lambda bench: bench_learning.strategies(bench.arrays, quick=bench.quick, large=bench.large),
    "committee": lambda bench: bench_learning.committee(bench.arrays, quick=bench.quick),
    "change": lambda bench: bench_learning.change(bench.arrays, quick=bench.quick),
    "fit": lambda bench: bench_learning.fit(bench.arrays, quick=bench.quick),
    "memory": lambda bench: bench_learning.memory(bench.arrays, quick=bench.quick),
}


def _project(
    bench: Bench, *, estimator: tuple[str, dict[str, Any]] = ("logistic_regression", {}), dimensions: int = DIMENSIONS
) -> str:
    return bench.client.create_project(
        name="bench",
        task={"type": "classification", "classes": NAMES},
        features={"type": "vector", "dimensions": dimensions},
        estimator={"name": estimator[0], "params": estimator[1]},
        retraining={"automatic": False},
    )


def _upload(bench: Bench, project_id: str, rows: int, *, labelled: int, dimensions: int = DIMENSIONS) -> dict[str, str]:
    """Upload rows, the first of them with labels; return the labels of all by id."""
    labels: dict[str, str] = {}
    for start in range(0, rows, SMALL):
        vectors, codes = clouds(bench.rng, min(SMALL, rows - start), dimensions)
        labels |= {str(row): NAMES[code] for row, code in enumerate(codes.tolist(), start=start)}
        made = _rows(vectors, start)
        lines = ({**row, "label": labels[row["id"]]} if int(row["id"]) < labelled else row for row in made)
        bench.client.upload(project_id, ndjson(lines))
    return labels


def _retrain(bench: Bench, project_id: str, labels: Mapping[str, str], row: int) -> None:
    """Give one more label and wait for the model of it."""
    bench.client.label(project_id, [{"example_id": str(row), "label": labels[str(row)]}])
    bench.client.finished(bench.client.train(project_id))


def _worker_seconds(client: Client, project_id: str, **wish: Any) -> float:
    """From a worker's claim of a query for a batch of 100 to its batch."""
    batch = client.query(project_id, k=100, lease_seconds=0, **wish)
    job = client.call("GET", f"/v1/jobs/{batch['job_id']}")
    return _seconds_between(job["started_at"], job["finished_at"])


def _rows(vectors: NDArray[np.float32], start: int = 0) -> Iterator[dict[str, Any]]:
    return ({"id": str(row), "vector": base64_vector(vector)} for row, vector in enumerate(vectors, start=start))


def _query_times(client: Client, project_id: str, count: int) -> list[float]:
    """Seconds of each of `count` queries, after a few that warm up."""

    def ask() -> None:
        client.query(project_id, k=10, lease_seconds=0)

    for _ in range(5):
        ask()
    return [_timed(ask) for _ in range(count)]


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _wait_until_running(client: Client, job_id: str) -> None:
    while client.call("GET", f"/v1/jobs/{job_id}")["state"] == "queued":
        time.sleep(0.02)


def _seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _coefficients(rng: np.random.Generator, columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """W [classes, columns] and b [classes] of a linear model: any figures cost the same."""
    W = rng.normal(scale=0.1, size=(len(NAMES), columns))
    return W.astype(np.float32), rng.normal(size=len(NAMES)).astype(np.float32)
