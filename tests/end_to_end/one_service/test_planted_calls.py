"""What somebody plants in the Redis of a running service."""

import pytest
from redis import Redis

from tests.support.planted_rings import call, push
from tests.support.stack import Stack, filled

pytestmark = pytest.mark.processes


def test_a_call_of_another_job_runs_what_sql_says_once(stack: Stack) -> None:
    """Of another kind, of another project, one that has ended, one that does not exist."""
    client = stack.client
    with Redis(unix_socket_path=str(stack.socket)) as redis:
        one, other = filled(client), filled(client)
        ended = client.query(one)
        client.succeeded(ended)
        before = client.job(ended), client.batch(ended)
        training = client.train(other)
        for n, job_id in enumerate([training, training, ended, "job_00000000000000000000000000"]):
            push(redis, f"{ended}-{n + 70}".encode(), data=call(job_id=job_id))
        client.succeeded(training)
        client.succeeded(client.query(one))
        assert (client.job(ended), client.batch(ended)) == before
        assert client.job(training)["attempts"] == 1
        assert (client.models(one), client.models(other)) == ({}, {1: training})
