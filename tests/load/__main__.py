"""`python -m tests.load`: the figures of the service under load, with their bounds."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.load.play import PHASES, play, running_stack
from tests.support.postgres import running_postgres

_BOUNDS = (
    ("singles", "labels_per_second", ">=", 800),
    ("hundreds", "labels_per_second", ">=", 20_000),
    ("mixed", "labels_per_second", ">=", 200),
    ("mixed", "p99_ms", "<=", 150),
    ("mixed", "memory_growth", "<=", 1.1),
    *((phase, name, "<=", 0) for phase in PHASES for name in ("errors", "wrong", "lost", "duplicated", "unasked")),
)
# more than are labelled in a second, so that nobody labels an example twice
_ROWS_PER_SECOND = {"singles": 1500, "hundreds": 30_000, "mixed": 400}
_ROWS = 20_000


def main() -> int:
    """Play the phases, print the table and write load.json; 1 when a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=main.__doc__)
    parser.add_argument("--database-url", default="", help="PostgreSQL to use; else a throw-away server is started.")
    parser.add_argument("--seconds", type=float, default=600.0, help="Length of the mixed phase.")
    parser.add_argument("--alone-seconds", type=float, default=20.0, help="Length of each of the other phases.")
    parser.add_argument("--phases", nargs="+", choices=list(PHASES), default=list(PHASES))
    parser.add_argument("--output", type=Path, default=Path("load.json"))
    wanted = parser.parse_args()
    with _database(wanted.database_url) as url, running_stack(url) as (stack, urls):
        played = {}
        for name in wanted.phases:
            seconds = wanted.seconds if name == "mixed" else wanted.alone_seconds
            rows = _ROWS + int(_ROWS_PER_SECOND[name] * seconds)
            played[name] = play(stack, urls, name, seconds=seconds, rows=rows).figures()
            sys.stdout.write(json.dumps({**played[name], "load": os.getloadavg()}) + "\n")
            sys.stdout.flush()
    wanted.output.write_text(json.dumps({"phases": played, "load": os.getloadavg()}, indent=1) + "\n")
    return 0 if _judge(played) else 1


@contextmanager
def _database(url: str) -> Iterator[str]:
    if url:
        yield url
        return
    with running_postgres(durable=True) as server:
        yield server.create_empty_database()


def _judge(played: dict[str, dict[str, Any]]) -> bool:
    """Print each bound of a played phase with what was measured."""
    held = True
    for phase, name, sign, bound in _BOUNDS:
        if phase in played:
            value = played[phase][name]
            good = value >= bound if sign == ">=" else value <= bound
            held = held and good
            sys.stdout.write(f"{'ok  ' if good else 'MISS'} {phase:<10}{name:<20}{value:>12} {sign} {bound}\n")
    return held


if __name__ == "__main__":
    sys.exit(main())
