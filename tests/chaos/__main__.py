"""`python -m tests.chaos`: the long form, with its figures; exits with 1 when anything was lost, doubled or wrong."""

import argparse
import json
import secrets
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.chaos.checker import check
from tests.chaos.controller import run
from tests.chaos.faults import kinds_of
from tests.chaos.figures import figures, table


def main() -> int:
    """Run over each database; print a table and keep the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of the faults and the clients")
    parser.add_argument("--faults", type=int, default=110, help="that hit something, on each database")
    parser.add_argument("--every", type=float, default=2.5, help="seconds between faults, on average")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append", help="both when left out")
    parser.add_argument("--output", type=Path, default=Path("chaos.json"), help="where the figures are kept")
    wish = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gleaner-chaos-history-"))
    sys.stdout.write(f"seed {wish.seed}; histories in {folder}\n")
    found = []
    for database in wish.database or ["sqlite", "postgresql"]:
        kinds = kinds_of(database)
        records = run(folder, database=database, seed=wish.seed, hits=wish.faults, every=wish.every, kinds=kinds)
        violations = check(records)
        found.append(figures(records, violations, database=database, seed=wish.seed))
        for violation in violations[:50]:
            sys.stdout.write(f"{database}: {violation.severity} ({violation.rule}): {violation.detail[:500]}\n")
        wish.output.write_text(json.dumps([asdict(figure) for figure in found], indent=2) + "\n")
    sys.stdout.write(table(found) + "\n")
    return int(any(figure.lost or figure.duplicated or figure.wrong for figure in found))


if __name__ == "__main__":
    sys.exit(main())
