"""Ports of loopback, for servers that cannot choose one by themselves, or have to come back on the same one."""

import socket


class HeldPort:
    """A free port that nobody else is given until it is closed, whether or not a server listens on it just now.

    It is bound, so that the system gives it to no one who asks for any port, be it to listen or to call from; but not
    listened on, so that a server which asks for it by its number, with SO_REUSEADDR as all of ours do, may have it.

    Attributes:
        number: Of the port.
    """

    def __init__(self) -> None:
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.number: int = self._held.getsockname()[1]

    def __enter__(self) -> int:
        """Its number, for the time of the block."""
        return self.number

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let others have it."""
        self._held.close()
