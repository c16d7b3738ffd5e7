from collections.abc import Iterator

import pytest

from tests.support.stack import Client, Stack, filled, running


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """A service as `gleaner up` starts it, for all tests of this folder, which stops in good order after them."""
    with running(webhook_allow="127.0.0.0/8") as made:
        made.client.succeeded(made.client.query(filled(made.client)))  # the workers, too, have started by now
        yield made
        assert made.terminate() < 10


@pytest.fixture(scope="package")
def client(stack: Stack) -> Client:
    return stack.client
