"""A run: clients work while faults happen; then all is calm, and what is left is written down."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx
from redis.exceptions import RedisError

from tests.chaos.caller import ATTEMPT_SECONDS, Scene
from tests.chaos.client import ANNOTATOR, LEASE_SECONDS, UPLOADER, Client, Habits
from tests.chaos.cluster import Cluster, DatabaseKind, running
from tests.chaos.faults import Fault, Undo, schedule, strike
from tests.chaos.history import History, Record, read
from tests.chaos.model_owner import OWNER, ModelOwner
from tests.chaos.receiver import Receiver
from tests.chaos.remains import make_project, note_jobs, pages, read_versions, sent, undisturbed, write_down
from tests.support.redis_server import wait_until

ANNOTATORS = {1: 3, 3: 4}  # by the overlap of their project
OWNERS = 2  # of a model elsewhere, in a project of their own
SETTLE_SECONDS = 240.0
_DELIVERED_SECONDS = 400.0  # who is refused, and then frozen or killed within the second attempt, waits 5 minutes
_EVENTS = ["training.succeeded", "training.failed", "query.succeeded", "query.failed"]


def run(
    folder: Path, *, database: DatabaseKind, seed: int, hits: int, every: float, kinds: Sequence[str]
) -> list[Record]:
    """Let `hits` faults of these kinds strike over one database; return the history, which is also kept in `folder`."""
    path = folder / f"history-{database}-{seed}.jsonl"
    history = History(path)
    receiver = Receiver(history, random.Random(seed))  # noqa: S311  # a schedule, not a secret
    faults = schedule(seed, every=every, database=database, kinds=kinds)
    try:
        with running(database) as cluster:
            try:
                _play(cluster, history, receiver, faults, seed=seed, hits=hits)
            finally:
                (folder / f"cluster-{database}-{seed}.log").write_text(cluster.told())
    finally:
        receiver.close()
        history.close()
    return read(path)


def _play(
    cluster: Cluster, history: History, receiver: Receiver, faults: Iterator[Fault], *, seed: int, hits: int
) -> None:
    with httpx.Client(
        base_url=cluster.urls[0], headers={"Authorization": f"Bearer {cluster.key}"}, timeout=60, trust_env=False
    ) as http:
        scenes = {overlap: _scene(cluster, http, history, overlap=overlap) for overlap in ANNOTATORS}
        own = _scene(cluster, http, history, own_model=True)
        for scene in scenes.values():
            hook = {"url": receiver.url, "project_id": scene.project_id}
            sent(http.post("/v1/webhooks", json={**hook, "events": _EVENTS}))
        with _working(cluster, [*_annotators(scenes, seed), *_owners(own, seed)]):
            # a batch for each was made, and a version
            _patiently(cluster, lambda: all(scene.offered for scene in scenes.values()) and bool(own.versions))
            _disturb(cluster, history, faults, hits)
            history.add("calm")
            cluster.pause(2.0)  # with nothing going wrong, all must go well at once
        cluster.wait_until_ready()  # on a busy machine a process that was killed last may not be back yet
        offers = _settle(cluster, http, scenes, history)
        for overlap, scene in scenes.items():
            write_down(http, scene, offer=offers[overlap])
        _read_versions(cluster, http, own)
        undisturbed(cluster, http, scenes, SETTLE_SECONDS)


def _scene(
    cluster: Cluster, http: httpx.Client, history: History, *, overlap: int = 1, own_model: bool = False
) -> Scene:
    stops = threading.Event(), threading.Event()
    scene = Scene(cluster.urls, cluster.key, make_project(http, overlap), history, *stops)
    scene.note("project", overlap=overlap, own_model=own_model)
    return scene


@contextmanager
def _working(cluster: Cluster, clients: Sequence[tuple[Client, Habits]]) -> Iterator[None]:
    threads = [threading.Thread(target=client.run, args=(habits,), daemon=True) for client, habits in clients]
    scenes = [client.scene for client, _ in clients]
    for thread in threads:
        thread.start()
    try:
        yield
        for scene in scenes:
            scene.stop.set()
        until = time.monotonic() + SETTLE_SECONDS
        while any(thread.is_alive() for thread in threads) and time.monotonic() < until:
            cluster.pause(0.1)
    finally:
        for scene in scenes:
            scene.stop.set()
            scene.give_up.set()
        for thread in threads:
            thread.join(ATTEMPT_SECONDS + 5)


def _annotators(scenes: dict[int, Scene], seed: int) -> Iterator[tuple[Client, Habits]]:
    for overlap, scene in scenes.items():
        for n, habits in enumerate([UPLOADER, *[ANNOTATOR] * ANNOTATORS[overlap]]):
            name = f"c{overlap}-{n}"
            yield Client(name, scene, _chance(seed, name)), habits


def _owners(scene: Scene, seed: int) -> Iterator[tuple[Client, Habits]]:
    for n in range(OWNERS):
        name = f"own-{n}"
        yield ModelOwner(name, scene, _chance(seed, name)), OWNER


def _chance(seed: int, name: str) -> random.Random:
    return random.Random(f"{seed}:{name}")  # noqa: S311  # a schedule, not a secret


def _disturb(cluster: Cluster, history: History, faults: Iterator[Fault], hits: int) -> None:
    """Let faults happen and pass until so many have hit something."""
    start = time.monotonic()
    pending: list[tuple[float, Fault, Undo]] = []
    fault, left = next(faults), hits
    while left or pending:
        now = time.monotonic() - start
        for ending in [entry for entry in pending if entry[0] <= now]:
            with suppress(RedisError):  # another fault keeps this one from ending now
                ending[2]()
                pending.remove(ending)
                history.add("fault_end", kind=ending[1].kind)
        if left and fault.at <= now:
            undo = _try(cluster, fault, history)
            if undo is not None:
                left -= 1
                pending.append((now + fault.seconds, fault, undo))
            fault = next(faults)
        cluster.pause(0.02)


def _try(cluster: Cluster, fault: Fault, history: History) -> Undo | None:
    try:
        undo = strike(cluster, fault)
    except RedisError as error:
        history.add("fault_missed", kind=fault.kind, why=type(error).__name__)
        return None
    history.add("fault" if undo else "fault_missed", kind=fault.kind, seconds=fault.seconds)
    return undo


def _settle(cluster: Cluster, http: httpx.Client, scenes: dict[int, Scene], history: History) -> dict[int, str]:
    """Wait until every lease and job has ended and the last label is learnt; the checker sees whether they have.

    Returns:
        By overlap the job of a query for everything that was open then.
    """
    paths = [scene.path for scene in scenes.values()]
    _patiently(cluster, lambda: not any(_unfinished(http, path, kind="query") for path in paths))
    leased_until = time.monotonic() + max(LEASE_SECONDS)
    _patiently(cluster, lambda: all(_has_learnt(http, path) for path in paths))
    history.add("settled")
    cluster.pause(leased_until - time.monotonic())
    offers = {overlap: _ask_for_all(scene, overlap) for overlap, scene in scenes.items()}
    _patiently(cluster, lambda: not any(_unfinished(http, path) for path in paths))
    wait_until(lambda: _delivered(cluster, http), _DELIVERED_SECONDS)
    history.add("delivered")
    return offers


def _patiently(cluster: Cluster, condition: Callable[[], bool]) -> None:
    """Wait for something, but not for ever."""
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until and not condition():
        cluster.pause(0.1)


def _unfinished(http: httpx.Client, path: str, **only: str) -> bool:
    """Whether a job waits or runs."""
    answers = [http.get(f"{path}/jobs", params={**only, "state": state}) for state in ("queued", "running")]
    return any(not answer.is_success or answer.json()["items"] for answer in answers)


def _has_learnt(http: httpx.Client, path: str) -> bool:
    """Whether every job has ended, and the last label is in a model."""
    project = http.get(path)
    learnt = project.is_success and project.json()["counts"]["labels_since_model"] == 0
    return learnt and not _unfinished(http, path)


def _ask_for_all(scene: Scene, overlap: int) -> str:
    name = f"last{overlap}"
    with closing(Client(name, _patient(scene), _chance(0, name))) as client:
        return client.ask_for_all()


def _patient(scene: Scene) -> Scene:
    """The scene for who comes after the clients that were told to stop and give up, and is not."""
    return replace(scene, stop=threading.Event(), give_up=threading.Event())


def _read_versions(cluster: Cluster, http: httpx.Client, own: Scene) -> None:
    with closing(ModelOwner("own-last", _patient(own), _chance(0, "own-last"))) as owner:
        read_versions(http, own, owner)
    _patiently(cluster, lambda: not _unfinished(http, own.path))
    note_jobs(http, own)


def _delivered(cluster: Cluster, http: httpx.Client) -> bool:
    cluster.pause(0.25)
    hooks = sent(http.get("/v1/webhooks"))["items"]
    paths = [f"/v1/webhooks/{hook['id']}/deliveries" for hook in hooks]
    return all(delivery["state"] != "pending" for path in paths for delivery in pages(http, path))
