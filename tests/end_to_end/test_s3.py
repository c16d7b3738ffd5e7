"""The loop on the stores of a cluster: real processes, PostgreSQL, and a server of S3's protocol."""

import pytest

from tests.support.s3_server import S3Server
from tests.support.stack import filled, running

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_loop_goes_round_without_a_shared_folder(database_url: str, s3: S3Server) -> None:
    with running("--workers", "2", database_url=database_url, **s3.settings()) as stack:
        client = stack.client
        project_id = filled(client, rows=1200)
        for _ in range(2):
            client.succeeded(client.train(project_id))
            client.succeeded(asked := client.query(project_id, strategy="margin"))
            assert client.batch(asked)[1]
        artifact = client.http.get(f"/v1/projects/{project_id}/models/1/artifact")
        assert (artifact.status_code, len(artifact.content) > 0) == (200, True)
        assert [path for path in (stack.folder / "objects").rglob("*") if path.is_file()] == []
        assert [path for path in (stack.folder / "cache/chunks").iterdir() if path.is_file()] != []
