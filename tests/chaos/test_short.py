"""The short form of `make chaos`: every sort of fault once, over the one database or the other."""

import random
from pathlib import Path

import pytest

from tests.chaos.checker import check
from tests.chaos.cluster import DatabaseKind
from tests.chaos.controller import run
from tests.chaos.faults import kinds_of
from tests.chaos.figures import figures

pytestmark = pytest.mark.processes
SEEDS = {"sqlite": 3, "postgresql": 4}
SECONDS = 6.5  # in which all of them begin
OVER_SQLITE = frozenset(random.Random(SEEDS["sqlite"]).sample(kinds_of("sqlite"), 8))  # noqa: S311  # no secret
KINDS = {
    "sqlite": [kind for kind in kinds_of("sqlite") if kind in OVER_SQLITE],
    "postgresql": [kind for kind in kinds_of("postgresql") if kind not in OVER_SQLITE],
}


def test_every_kind_of_fault_is_drawn() -> None:
    assert sorted([*KINDS["sqlite"], *KINDS["postgresql"]]) == sorted({*kinds_of("sqlite"), *kinds_of("postgresql")})


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_faults_lose_double_and_change_nothing(database: DatabaseKind, tmp_path: Path) -> None:
    kinds, seed = KINDS[database], SEEDS[database]
    records = run(tmp_path, database=database, seed=seed, hits=len(kinds), every=SECONDS / len(kinds), kinds=kinds)
    assert check(records) == []
    found = figures(records, [], database=database, seed=seed)
    assert sum(found.faults.values()) == len(kinds)
    assert {*found.faults, *found.missed} == set(kinds)
    done = (found.labels, found.skips, found.large_uploads, found.predictions, found.renewals_and_releases)
    assert all(count > 0 for count in (*done, found.jobs_ended)), done
