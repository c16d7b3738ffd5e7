"""The faults of a run: which, when, for how long. All of it follows from a seed."""

import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.chaos.cluster import JOB_LEASE_SECONDS, LEADER_LEASE_SECONDS, Cluster, DatabaseKind

Undo = Callable[[], None]


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        at: Seconds from the start of the run.
        seconds: Until it is undone; 0 for what cannot be.
        pick: Which of several processes, as a share of them.
    """

    at: float
    kind: str
    seconds: float
    pick: float


# How long each lasts, at least and at most: a frozen worker or dispatcher sleeps past its lease.
_LASTING = {
    "stop serve": (0.5, 4.0),
    "stop worker": (JOB_LEASE_SECONDS + 0.5, JOB_LEASE_SECONDS + 3.0),
    "stop horse": (JOB_LEASE_SECONDS + 0.5, JOB_LEASE_SECONDS + 3.0),
    "stop dispatcher": (LEADER_LEASE_SECONDS + 0.5, LEADER_LEASE_SECONDS + 3.0),
    "stop redis": (0.5, 4.0),
    "fill redis": (0.5, 4.0),
    "cut redis": (0.5, 3.0),
    "black_hole redis": (0.5, 5.0),
    "delay redis": (1.0, 5.0),
    "fill disk": (0.5, 3.0),
}
_LASTING_POSTGRESQL = {
    "stop postgresql": (0.5, 4.0),
    "cut sql": (0.5, 3.0),
    "black_hole sql": (0.5, 4.0),
    "delay sql": (1.0, 4.0),
}
_SUDDEN = ("kill serve", "kill worker", "kill horse", "kill dispatcher", "kill redis", "flush redis")
_SUDDEN_POSTGRESQL = ("kill postgresql",)


def kinds_of(database: DatabaseKind) -> list[str]:
    """Everything that can go wrong over a database."""
    if database == "sqlite":
        return [*_SUDDEN, *_LASTING]
    return [*_SUDDEN, *_SUDDEN_POSTGRESQL, *_LASTING, *_LASTING_POSTGRESQL]


def schedule(seed: int, *, every: float, database: DatabaseKind, kinds: Sequence[str]) -> Iterator[Fault]:
    """Faults of these kinds without end, about one in `every` seconds, in order of time; some overlap."""
    rng = random.Random(f"{seed}:{database}")  # noqa: S311  # a schedule, not a secret
    lasting = _LASTING | _LASTING_POSTGRESQL
    deck: list[str] = []
    at = 0.5
    while True:
        deck = deck or rng.sample(kinds, len(kinds))  # each kind comes before any comes again
        kind = deck.pop()
        yield Fault(at, kind, rng.uniform(*lasting[kind]) if kind in lasting else 0.0, rng.random())
        at += rng.uniform(0.2, 2 * every - 0.2)


def strike(cluster: Cluster, fault: Fault) -> Undo | None:
    """Let it happen; return what undoes it, or nothing when it hit nothing.

    Raises:
        RedisError: Redis is down; so may what undoes it, which is to be tried again then.
    """
    verb, _, name = fault.kind.partition(" ")
    if verb in {"kill", "stop"}:
        return _signal(cluster, fault, verb, name)
    if fault.kind == "fill disk":
        return _fill_disk(cluster)
    if verb in {"flush", "fill"}:
        return _redis(cluster, verb)
    proxy = cluster.proxies[name]
    proxy.set("cut" if verb == "cut" else "black_hole" if verb == "black_hole" else "delay")
    return lambda: proxy.set("open")


def _signal(cluster: Cluster, fault: Fault, verb: str, name: str) -> Undo | None:
    candidates = cluster.pids(name)
    if not candidates:
        return None
    pids = candidates[int(fault.pick * len(candidates))]
    _send(pids if verb == "stop" else pids[:1], signal.SIGSTOP if verb == "stop" else signal.SIGKILL)
    return lambda: _send(pids, signal.SIGCONT) if verb == "stop" else None


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _fill_disk(cluster: Cluster) -> Undo | None:
    if not cluster.disk.can_be_filled:
        return None
    cluster.disk.fill()
    return cluster.disk.free


def _redis(cluster: Cluster, verb: str) -> Undo:
    def tell(*command: str) -> None:
        once = Retry(NoBackoff(), 0)  # a stopped server must not hold up the end of other faults
        with Redis(port=cluster.redis_port, socket_timeout=0.5, socket_connect_timeout=0.5, retry=once) as connection:
            connection.execute_command(*command)

    if verb == "flush":
        tell("FLUSHALL")
        return lambda: None
    tell("CONFIG", "SET", "maxmemory", "1")
    return lambda: tell("CONFIG", "SET", "maxmemory", "0")
