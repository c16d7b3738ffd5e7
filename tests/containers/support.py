"""The stack of `deploy/compose.yaml`, under a name and with secrets of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.support.redis_server import wait_until
from tests.support.stack import Client

DEPLOY = Path(__file__).parents[2] / "deploy"
PROJECT = "gleaner-test"
SERVICES = {"proxy": 1, "api": 2, "dispatcher": 2, "worker-interactive": 1, "worker": 1, "postgres": 1, "redis": 1}


class Containers:
    """Started by the script that people start it with.

    Args:
        secrets: An empty folder.
    """

    def __init__(self, secrets: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self._secrets = secrets
        self._url = f"http://127.0.0.1:{port}"
        self._engine = os.environ.get("ENGINE") or shutil.which("podman") or "docker"
        own = {"COMPOSE_PROJECT_NAME": PROJECT, "GLEANER_PORT": str(port), "GLEANER_SECRETS": str(secrets)}
        self._environment = {**os.environ, **own}

    @property
    def address(self) -> str:
        """Host and port of the proxy."""
        return self._url.removeprefix("http://")

    @cached_property
    def client(self) -> Client:
        """A client of the API behind the proxy, with the admin key that was made."""
        return Client(self._url, (self._secrets / "gleaner_admin_key").read_text().strip())

    def start(self, **variables: str) -> None:
        """Start it and wait until it serves requests. The variables hold for later starts, too."""
        self._environment.update(variables)
        self._run(str(DEPLOY / "up.sh"))

    def configure(self, line: str) -> None:
        """Add a line to the settings that a start applies."""
        with (self._secrets / "settings.env").open("a") as file:
            file.write(f"{line}\n")

    def name_image(self, name: str, of: str) -> str:
        """Name the image of a container as it is now, with another id than any before; return the id."""
        self._run(self._engine, "commit", of, name)
        return self._run(self._engine, "image", "inspect", "--format", "{{.Id}}", name).strip()

    def forget_image(self, name: str) -> None:
        """Remove an image that was named."""
        self._run(self._engine, "image", "rm", "--force", name)

    def remove(self) -> None:
        """Remove it with all of its data."""
        self.client.http.close()
        self._run(str(DEPLOY / "compose.sh"), "down", "--volumes")

    def of(self, service: str) -> list[str]:
        """The ids of a service's running containers."""
        labels = {"project": PROJECT, "service": service}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        return self._run(self._engine, "ps", "--quiet", *filters).split()

    def restart(self, container: str) -> None:
        """Stop a container in good order and start it again."""
        self._run(self._engine, "restart", "--time", "15", container)

    def kill(self, container: str) -> None:
        """Kill a container's first process, and wait until the restart policy has brought it back."""
        pid = self._first_process(container)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self._first_process(container) not in {0, pid})

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        (found,) = json.loads(self._run(self._engine, "inspect", container))
        return dict(found)

    def _first_process(self, container: str) -> int:
        return int(self.inspect(container)["State"]["Pid"])

    def python(self, container: str, code: str) -> str:
        """Run a program in a container; return what it prints."""
        return self._run(self._engine, "exec", container, "python3", "-c", code)

    def _run(self, *words: str) -> str:
        done = subprocess.run(words, env=self._environment, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout
