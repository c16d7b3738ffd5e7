import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from service.actions import jobs
from service.api.deps.runtime import Runtime, utc_now
from service.db.tables import Leader
from service.queue.messages import MergeMessage
from tests.support.redis_server import PATIENCE_SECONDS, wait_until
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.processes


def leaders(runtime: Runtime) -> list[str]:
    with runtime.database.read() as session:
        return list(session.scalars(select(Leader.holder)))


def test_a_signal_ends_it_soon_and_gives_the_lead_up(runtime: Runtime, tmp_path: Path) -> None:
    with runtime.database.write() as session:
        jobs.enqueue(session, project_id="prj_a", kind="merge", message=MergeMessage(), now=utc_now(), share=0)
    gleaner = Path(sys.executable).with_name("gleaner")
    url = runtime.settings.sql_url
    environment = {**os.environ, "GLEANER_DATA_DIR": str(tmp_path), "GLEANER_DATABASE_URL": url}
    told = tmp_path / "told"
    with told.open("w") as log, subprocess.Popen([gleaner, "dispatcher"], env=environment, stderr=log) as process:
        wait_until(lambda: leaders(runtime) != [] and "queue_unavailable" in told.read_text())
        time.sleep(1.2)  # a few ticks more without Redis
        process.send_signal(signal.SIGTERM)
        with Stopwatch(process.pid) as stopping:
            process.wait(PATIENCE_SECONDS)
    assert stopping.seconds < 5
    assert process.returncode == 0, told.read_text()
    assert told.read_text().count("queue_unavailable") == 1
    assert leaders(runtime) == []
