"""What slow connections cost a healthy client: `make slow`.

Connections that never finish their requests are held, and opened again as the server cuts them off, while one client
asks again and again. Quiet and slow spells take turns, so that the machine's noise is in both.
"""

import argparse
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.support.serving import Server, is_cut_off, serving, slow_start, trickle

_SPELL_SECONDS = 20.0  # twice as long as the service's patience: slow connections are cut off and come again
_DRIP_SECONDS = 1.0
_AT_MOST = 2.0
_BETWEEN_SECONDS = 0.01
# The defaults of the service.
_SETTINGS = {
    "GLEANER_HEAD_TIMEOUT_SECONDS": "10",
    "GLEANER_STALL_SECONDS": "10",
    "GLEANER_MAX_CONNECTIONS": "2000",
    "GLEANER_MAX_CONNECTIONS_PER_ADDRESS": "1000",
}


def main() -> int:
    """Print the figures; 1 when the bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0, help="of slow spells, and as many of quiet ones")
    chosen = parser.parse_args()
    spells = max(1, round(chosen.seconds / _SPELL_SECONDS))
    alone: list[float] = []
    beside: list[float] = []
    with tempfile.TemporaryDirectory(prefix="gleaner-") as folder, serving(Path(folder), **_SETTINGS) as server:
        for _ in range(spells):
            alone += spell(server, 0, seconds=chosen.seconds / spells)
            beside += spell(server, chosen.connections, seconds=chosen.seconds / spells)
    quiet, slow = p95(alone), p95(beside)
    sys.stdout.write(
        f"{chosen.connections} slow connections for {chosen.seconds:g} s: p95 {slow:.1f} ms of {len(beside)} requests, "
        f"alone {quiet:.1f} ms of {len(alone)}: {slow / quiet:.2f} x\n"
    )
    return int(slow > _AT_MOST * quiet)


def spell(server: Server, connections: int, *, seconds: float) -> list[float]:
    """How long each request of a healthy client took, in milliseconds, beside that many slow connections."""
    slow: list[socket.socket] = []
    took = []
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
            client.headers["Authorization"] = f"Bearer {server.key}"
            slow += [server.connect(slow_start(server, number)) for number in range(connections)]
            time.sleep(0.5)  # all are accepted
            until, dripped = time.monotonic() + seconds, time.monotonic()
            while time.monotonic() < until:
                if time.monotonic() > dripped + _DRIP_SECONDS:
                    dripped = time.monotonic()
                    trickle(slow)
                    open_again(server, slow)
                began = time.perf_counter()
                client.get("/v1/projects").raise_for_status()
                took.append((time.perf_counter() - began) * 1000)
                time.sleep(_BETWEEN_SECONDS)
    finally:
        for made in slow:
            made.close()
    return took


def open_again(server: Server, slow: list[socket.socket]) -> None:
    """Replace the connections that the server has cut off."""
    for number, made in enumerate(slow):
        if is_cut_off(made):
            made.close()
            slow[number] = server.connect(slow_start(server, number))


def p95(took: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(took, n=20)[-1]


if __name__ == "__main__":
    sys.exit(main())
