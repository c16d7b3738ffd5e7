from pathlib import Path

import pytest

from service.cli.embedded import StartError, log_tail, running


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with (
        pytest.raises(StartError, match="ended while it started"),
        running(folder, settings={"GLEANER_THREADS": "-17"}),
    ):
        pass
    assert "GLEANER_THREADS" in log_tail(folder)


def test_the_log_is_unfolded_and_cut(tmp_path: Path) -> None:
    assert log_tail(tmp_path) == ""
    (tmp_path / "up.log").write_text('{"exception": "one\\ntwo"}\nthree\n')
    assert log_tail(tmp_path, lines=2) == 'two"}\nthree'
