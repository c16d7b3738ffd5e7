"""The measuring processes of the benchmark, on a small pool."""

import sys
from pathlib import Path

import pytest

from service.cli.bench_child import ChildError, measured

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
