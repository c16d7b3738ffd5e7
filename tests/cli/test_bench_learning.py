"""The measuring processes of the benchmark, on a small pool."""

import sys
from pathlib import Path

import pytest

from service.catalog.strategies import STRATEGIES
from service.cli import bench_floor
from service.cli.bench_child import ChildError, measured
from service.cli.bench_scale import Found, table

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
ROWS = 2_000


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "arrays"
    measured("prepare", folder=folder, rows=ROWS, columns=8)
    return folder


def test_a_ranking_is_timed_in_a_process_of_its_own(arrays: Path) -> None:
    found = measured("rank", folder=arrays, rows=ROWS, strategy="margin", params={})
    assert 0 < found.seconds["rank"] < 10
    assert 10 < found.mib < 2_000
    assert not found.note


def test_silence_is_no_figure(arrays: Path) -> None:
    found = measured("rank", limit=0.05, folder=arrays, rows=ROWS, strategy="margin", params={})
    assert not found.seconds
    assert found.note == "no answer in 0 s"


def test_a_failure_is_told(arrays: Path) -> None:
    with pytest.raises(ChildError, match="KeyError"):
        measured("rank", folder=arrays, rows=ROWS, strategy="no such strategy", params={})


def test_work_over_a_pool_in_chunks_is_timed_beside_reading_it(tmp_path: Path) -> None:
    assert measured("lay_pool", folder=tmp_path, rows=1_000).seconds
    assert measured("lay_pool", folder=tmp_path, rows=ROWS).seconds  # the pool grows
    found = Found(ROWS, 1, measured("scale", folder=tmp_path, jobs=1))
    assert all(0 < seconds < 10 for seconds in found.seconds.values())
    assert 10 < found.measured.mib < 2_000
    assert table([found]).row_count == 1


def test_every_strategy_that_asks_a_committee_has_its_plain_form() -> None:
    assert bench_floor.COMMITTEE.keys() == {name for name, made in STRATEGIES.items() if "committee" in made.needs}


@pytest.mark.parametrize("strategy", list(bench_floor.COMMITTEE))
def test_a_committee_is_timed_beside_its_plain_form(tmp_path: Path, strategy: str) -> None:
    folder = tmp_path / "arrays"
    measured("prepare", folder=folder, rows=ROWS, columns=8, committee=True)
    found = measured("committee", folder=folder, rows=ROWS, strategy=strategy)
    assert found.seconds.keys() == {"rank", "numpy"}
