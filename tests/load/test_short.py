"""The load in short: whether anything is lost, doubled or wrong; speed is `make load`'s to judge."""

import pytest

from tests.load.play import PHASES, play, running_stack
from tests.support.postgres import running_postgres


@pytest.mark.timeout(600)
def test_no_acknowledged_label_is_lost_or_doubled_under_load() -> None:
    with running_postgres() as server, running_stack(server.create_empty_database()) as (stack, urls):
        for name in PHASES:
            figures = play(stack, urls, name, seconds=1.5, rows=2000).figures()
            assert figures["labels"] > 0
            wrong = {kind: figures[kind] for kind in ("errors", "wrong", "lost", "duplicated", "unasked")}
            assert wrong == dict.fromkeys(wrong, 0), figures["kinds"]
