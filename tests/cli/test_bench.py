import json
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from service.cli import bench_processes as processes
from service.cli.bench_figures import Figure, document, percentile, table
from service.cli.supervisor import gleaner_command
from tests.support.redis_server import PATIENCE_SECONDS, wait_until

FIGURES = [
    Figure(name="slow", value=81.4, unit="ms", at_most=80, parts={"worker ms": 12.345}),
    Figure(name="fast", value=123456.7, unit="rows/s", at_least=40_000),
    Figure(name="told", value=3, unit="MiB"),
]


def test_bounds_hold_in_their_direction() -> None:
    assert [figure.held for figure in FIGURES] == [False, True, None]
    assert [figure.bound for figure in FIGURES] == ["≤ 80", "≥ 40,000", ""]
    assert Figure(name="exact", value=80, unit="ms", at_most=80).held


def test_the_table_shows_what_was_missed(capsys: pytest.CaptureFixture[str]) -> None:
    Console(width=110).print(table(FIGURES))
    lines = capsys.readouterr().out.splitlines()
    assert ["slow", "81.4", "ms", "≤", "80", "no", "worker", "ms", "12.3"] in [
        line.replace("│", "").split() for line in lines
    ]
    assert ["fast", "123,457", "rows/s", "≥", "40,000", "yes"] in [line.replace("│", "").split() for line in lines]


def test_the_document_is_json_with_the_machine() -> None:
    read = json.loads(json.dumps(document(FIGURES)))
    assert read["machine"]["cores"] >= 1
    assert read["figures"][0] == {
        "name": "slow",
        "value": 81.4,
        "unit": "ms",
        "at_most": 80,
        "at_least": None,
        "held": False,
        "parts": {"worker ms": 12.345},
        "note": "",
    }


def test_what_gave_no_figure_says_why_and_holds_no_bound(capsys: pytest.CaptureFixture[str]) -> None:
    silent = Figure(name="peer", value=None, unit="s", at_most=3, note="no answer in 120 s")
    assert silent.held is False
    Console(width=110).print(table([silent]))
    assert "no answer in 120 s" in capsys.readouterr().out


def test_percentiles_are_in_milliseconds() -> None:
    assert percentile([0.001 * value for value in range(101)], 50) == pytest.approx(50)
    assert percentile([0.001 * value for value in range(101)], 99) == pytest.approx(99)


def test_the_kernel_tells_memory_and_libraries() -> None:
    pid = os.getpid()
    processes.reset_peak(pid)
    before = processes.resident(pid)
    # A mapping of its own: the allocator would hand out pages that are resident already.
    with mmap.mmap(-1, 32 * 2**20) as block:
        block.write(b"1" * len(block))
    assert 30 * 2**20 < processes.peak_resident(pid) - before < 80 * 2**20
    assert processes.has_mapped(pid, "pydantic_core")
    assert not processes.has_mapped(pid, "tensorflow")


def test_a_child_is_found_by_its_role() -> None:
    command = [sys.executable, "-c", "input()", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        wait_until(lambda: Path(f"/proc/{child.pid}/cmdline").read_bytes().endswith(b"serve\0"))
        assert processes.child(os.getpid(), "serve") == child.pid
        with pytest.raises(LookupError, match="no child that runs gleaner worker"):
            processes.child(os.getpid(), "worker")
        child.communicate(b"\n")


@pytest.mark.processes
def test_a_case_runs_on_the_real_service(tmp_path: Path) -> None:
    command = gleaner_command("bench", "--quick", "--only", "overhead")
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    figures = json.loads((tmp_path / "bench.json").read_text())["figures"]
    assert [figure["name"] for figure in figures][:2] == ["query to batch, p50", "query to batch, p99"]
    assert all(figure["value"] > 0 for figure in figures)
