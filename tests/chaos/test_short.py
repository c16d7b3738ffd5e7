"""The short form of `make chaos`: a few faults of every sort over each database."""

from pathlib import Path

import pytest

from tests.chaos.checker import check
from tests.chaos.cluster import DatabaseKind
from tests.chaos.controller import run
from tests.chaos.figures import figures

pytestmark = pytest.mark.processes
SEEDS = {"sqlite": 3, "postgresql": 4}
FAULTS = 8


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_faults_lose_double_and_change_nothing(database: DatabaseKind, tmp_path: Path) -> None:
    records = run(tmp_path, database=database, seed=SEEDS[database], hits=FAULTS, every=0.8)
    assert check(records) == []
    found = figures(records, [], database=database, seed=SEEDS[database])
    assert sum(found.faults.values()) == FAULTS
    done = (found.labels, found.skips, found.large_uploads, found.renewals_and_releases, found.jobs_ended)
    assert all(count > 0 for count in done), done
