import sqlite3
from contextlib import closing
from pathlib import Path

from click.testing import CliRunner

from service.cli.main import main
from service.cli.ready import readiness
from tests.support.redis_server import wait_until
from tests.support.serving import serving


def test_ready_tells_by_its_exit_code_whether_requests_are_served(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        url = f"http://127.0.0.1:{server.port}"
        wait_until(lambda: CliRunner().invoke(main, ["ready", "--url", url]).exit_code == 0)
        assert readiness(url) == "degraded"  # there is no Redis
        with closing(sqlite3.connect(tmp_path / "gleaner.sqlite3")) as database, database:
            database.execute("UPDATE alembic_version SET version_num = '0000'")
        unready = CliRunner().invoke(main, ["ready", "--url", url])
    gone = CliRunner().invoke(main, ["ready", "--url", url])
    assert readiness(url) is None
    for result in (unready, gone):
        assert (result.exit_code, result.output) == (1, f"Error: The API at {url} is not ready.\n")
