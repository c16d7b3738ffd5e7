"""The scripts that start the stack of containers, with engines and tools that only note what they were asked."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_NEEDED = (
    "bash",
    "base64",
    "basename",
    "cat",
    "chmod",
    "cksum",
    "dirname",
    "env",
    "grep",
    "head",
    "mkdir",
    "mv",
    "rm",
    "sleep",
    "sort",
    "touch",
    "tr",
)

_SCRIPTS = ("engine.sh", "compose.sh", "up.sh", "secrets.sh", "build-images.sh")


@dataclass(frozen=True)
class Machine:
    """What is installed, and what was asked of it.

    Attributes:
        folder: Of its programs, and of what they note.
    """

    folder: Path

    def install(self, name: str, *, folder: str = "bin", answer: str = "true") -> None:
        """An engine or a tool."""
        program = self.folder / folder / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f'#!/usr/bin/env bash\necho "{name} $*" >>"{self.folder}/asked"\n{answer}\n', encoding="utf-8"
        )
        program.chmod(0o700)

    @property
    def secrets(self) -> Path:
        """Of the stack."""
        return self.folder / "secrets"

    def asked(self) -> list[str]:
        """What the programs were asked, in order."""
        file = self.folder / "asked"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    def starts(self) -> list[str]:
        """What of it has started containers."""
        return [line for line in self.asked() if " up --detach " in line]

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script of `deploy`, a copy of which is beside no environment."""
        environment = {"PATH": str(self.folder / "bin"), "GLEANER_SECRETS": str(self.secrets), **variables}
        command = [self.folder / "deploy" / script]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "bin").mkdir()
    for name in _NEEDED:
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "deploy").mkdir()
    for name in (*_SCRIPTS, "compose.yaml", "compose.s3.yaml"):
        shutil.copy(ROOT / "deploy" / name, tmp_path / "deploy")
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("installed", "variables", "engine", "tool"),
    [
        (("podman", "podman-compose"), {}, "podman", "podman-compose --podman-path {bin}/podman"),
        (("docker",), {}, "docker", "docker compose"),
        (("podman", "podman-compose", "docker"), {}, "podman", "podman-compose --podman-path {bin}/podman"),
        (("podman", "podman-compose", "docker"), {"ENGINE": "docker"}, "docker", "docker compose"),
        (
            ("podman-remote", "podman-compose"),
            {"ENGINE": "podman-remote"},
            "podman-remote",
            "podman-compose --podman-path {bin}/podman-remote",
        ),
        (("nerdctl",), {"ENGINE": "nerdctl"}, "nerdctl", "nerdctl compose"),
        (("podman", "docker"), {"ENGINE": "podman", "COMPOSE": "docker compose"}, "podman", "docker compose"),
    ],
)
def test_one_engine_has_the_volumes_and_starts_the_stack(
    machine: Machine, installed: tuple[str, ...], variables: dict[str, str], engine: str, tool: str
) -> None:
    for name in installed:
        machine.install(name)
    done = machine.run("up.sh", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Gleaner is ready at http://127.0.0.1:8080" in done.stdout
    assert machine.asked()[0] == f"{engine} volume ls --quiet"
    words = tool.format(bin=machine.folder / "bin")
    assert machine.starts()
    assert all(line.startswith(f"{words} --file compose.yaml ") for line in machine.starts())
    assert (machine.secrets / "complete").exists()


def test_volumes_without_their_secrets_are_refused_before_anything_starts(machine: Machine) -> None:
    machine.install("podman", answer="echo other; echo mine_postgres")
    machine.install("podman-compose")
    done = machine.run("up.sh", COMPOSE_PROJECT_NAME="mine")
    assert done.returncode == 1
    assert "There are volumes of an earlier stack mine" in done.stderr
    engine = machine.folder / "bin" / "podman"
    tool = f'ENGINE={engine} COMPOSE="podman-compose --podman-path {engine}"'
    assert f"{tool} deploy/compose.sh --project-name mine down --volumes" in done.stderr.splitlines()
    assert machine.asked() == ["podman volume ls --quiet"]
    assert not machine.secrets.exists()


def test_an_engine_that_does_not_answer_is_told_before_anything_is_made(machine: Machine) -> None:
    machine.install("podman", answer="echo cannot connect >&2; exit 125")
    machine.install("podman-compose")
    done = machine.run("up.sh")
    assert (done.returncode, done.stdout, done.stderr) == (125, "", "cannot connect\n")
    assert not machine.secrets.exists()


def test_an_engine_that_is_named_by_its_path_starts_the_stack(machine: Machine) -> None:
    machine.install("podman", folder="elsewhere")
    machine.install("podman-compose")
    path = str(machine.folder / "elsewhere" / "podman")
    assert machine.run("up.sh", ENGINE=path).returncode == 0
    assert f"podman-compose --podman-path {path} --file compose.yaml run --rm --no-deps -T migrate" in machine.asked()


def test_a_stack_with_its_secrets_starts_again(machine: Machine) -> None:
    machine.install("podman", answer="echo gleaner_postgres")
    machine.install("podman-compose")
    machine.secrets.mkdir()
    (machine.secrets / "complete").touch()
    assert machine.run("up.sh").returncode == 0
    assert machine.asked()[-1].endswith("gleaner ready --url http://proxy:8080")
    assert not (machine.secrets / "gleaner_admin_key").exists()


@pytest.mark.parametrize("script", ["up.sh", "compose.sh", "build-images.sh"])
@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "There is no podman and no docker here."),
        ({"ENGINE": "nerdctl"}, "There is no nerdctl here."),
        ({"COMPOSE": "docker compose"}, "COMPOSE goes with ENGINE"),
    ],
)
def test_a_machine_without_an_engine_is_told(
    machine: Machine, script: str, variables: dict[str, str], told: str
) -> None:
    done = machine.run(script, **variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr


def test_a_tool_that_is_to_be_installed_is_named(machine: Machine) -> None:
    machine.install("podman")
    done = machine.run("compose.sh", COMPOSE="")
    assert (done.returncode, done.stdout) == (127, "")
    assert "There is no podman-compose here. `make setup` brings" in done.stderr


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"ENGINE": "podman", "COMPOSE": "nothing"}, "There is no nothing here."),
        ({"ENGINE": "docker"}, "/bin/docker compose` does not work here: it needs the plugin compose"),
    ],
)
def test_a_tool_that_cannot_start_the_stack_is_told(machine: Machine, variables: dict[str, str], told: str) -> None:
    machine.install("podman")
    machine.install("docker", answer='[ "$1" != compose ]')
    done = machine.run("compose.sh", **variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr


@pytest.mark.parametrize("script", ["up.sh", "compose.sh"])
def test_a_folder_of_secrets_that_is_named_from_here_is_refused(machine: Machine, script: str) -> None:
    machine.install("podman")
    done = machine.run(script, GLEANER_SECRETS="secrets")
    assert (done.returncode, done.stdout) == (1, "")
    assert "GLEANER_SECRETS has to be a full path" in done.stderr
    assert machine.asked() == []


def test_the_variables_of_a_start_hold_for_the_next(machine: Machine) -> None:
    machine.install("podman")
    machine.install("podman-compose")
    machine.run("up.sh", GLEANER_PORT="1234", GLEANER_OBJECTS_URL="s3://a=b/c=")
    kept = machine.secrets / "variables"
    engine = f"ENGINE={machine.folder}/bin/podman"
    assert set(kept.read_text().splitlines()) == {engine, "GLEANER_OBJECTS_URL=s3://a=b/c=", "GLEANER_PORT=1234"}
    again = machine.run("up.sh")
    assert "Gleaner is ready at http://127.0.0.1:1234;" in again.stdout
    assert all("--file compose.s3.yaml" in line for line in machine.starts())
    other = machine.run("up.sh", GLEANER_PORT="4321", GLEANER_OBJECTS_URL="")
    assert "Gleaner is ready at http://127.0.0.1:4321;" in other.stdout
    assert "--file compose.s3.yaml" not in machine.starts()[-1]
    assert set(kept.read_text().splitlines()) == {engine, "GLEANER_PORT=4321"}


def test_variables_that_were_kept_are_read_as_people_write_them(machine: Machine) -> None:
    machine.install("podman")
    machine.install("podman-compose")
    machine.secrets.mkdir()
    (machine.secrets / "variables").write_text("# ours\n\nno name = x\nGLEANER_LOG_LEVEL=debug\nGLEANER_PORT=1234")
    assert "http://127.0.0.1:1234;" in machine.run("up.sh").stdout


def test_a_tool_that_was_kept_is_of_the_engine_that_was(machine: Machine) -> None:
    for name in ("podman", "podman-compose", "docker", "docker-compose"):
        machine.install(name)
    docker: dict[str, str] = {"ENGINE": "docker", "COMPOSE": "docker-compose"}
    for variables in (docker, {}, {"ENGINE": "docker"}, {}):
        assert machine.run("up.sh", **variables).returncode == 0
        assert machine.starts()[-1].startswith("docker-compose ")
    assert machine.run("up.sh", COMPOSE="podman-compose").returncode == 1
    for variables in ({"ENGINE": "podman"}, docker, {"ENGINE": ""}, {}):
        assert machine.run("up.sh", **variables).returncode == 0
        expected = "docker-compose " if variables == docker else "podman-compose "
        assert machine.starts()[-1].startswith(expected)
    (machine.secrets / "variables").write_text("COMPOSE=docker-compose\n")
    assert machine.run("up.sh").returncode == 1


def test_the_secrets_of_one_stack_are_not_taken_for_another(machine: Machine) -> None:
    machine.install("podman", answer="echo one_postgres")
    machine.install("podman-compose")
    machine.secrets.mkdir()
    (machine.secrets / "complete").touch()
    kept = machine.secrets / "variables"
    kept.write_text("COMPOSE_PROJECT_NAME=one \n")
    assert machine.run("up.sh").returncode == 0
    before = machine.starts()
    done = machine.run("up.sh", COMPOSE_PROJECT_NAME="two")
    assert done.returncode == 1
    assert "are of the stack one: GLEANER_SECRETS names another folder for the stack two." in done.stderr
    machine.install("docker")
    assert machine.run("up.sh", COMPOSE_PROJECT_NAME="two", ENGINE="docker").returncode == 1
    assert machine.starts() == before


def test_secrets_that_were_kept_under_a_name_without_a_stack_are_those_of_another(machine: Machine) -> None:
    machine.install("podman", answer="echo two_postgres")
    machine.install("podman-compose")
    machine.run("up.sh", COMPOSE_PROJECT_NAME="one")
    assert machine.run("up.sh", COMPOSE_PROJECT_NAME="two").returncode == 0
    assert "COMPOSE_PROJECT_NAME=two" in (machine.secrets / "variables").read_text().splitlines()


def test_a_variable_among_the_settings_is_told(machine: Machine) -> None:
    machine.install("podman")
    machine.install("podman-compose")
    machine.run("up.sh")
    before = machine.starts()
    with (machine.secrets / "settings.env").open("a") as file:
        file.write("GLEANER_KEEP_JOBS_DAYS=0\nGLEANER_LOG_LEVEL=debug\n")
    done = machine.run("up.sh")
    assert (done.returncode, done.stdout) == (1, "")
    assert "settings.env: GLEANER_LOG_LEVEL is a variable of the start." in done.stderr
    assert machine.starts() == before


def test_an_image_that_is_missing_is_told_before_anything_starts(machine: Machine) -> None:
    machine.install("podman", answer='[ "$1" = volume ] || [ "$3" = redis:7 ]')
    machine.install("podman-compose")
    done = machine.run("up.sh", POSTGRES_IMAGE="here/postgres")
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no image here/postgres." in done.stderr
    assert machine.asked()[1:] == ["podman image inspect here/postgres", "podman pull here/postgres"]


def test_an_image_of_our_own_is_never_taken_from_a_registry(machine: Machine) -> None:
    machine.install("podman", answer='[[ "$*" != *gleaner-api:latest ]] || [ "$1" = pull ]')
    machine.install("podman-compose")
    done = machine.run("up.sh")
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no image gleaner-api:latest. `make images` builds" in done.stderr
    assert not any("pull" in line for line in machine.asked())
    machine.run("up.sh", POSTGRES_IMAGE="gleaner-registry:5000/gleaner-api:latest")
    assert "podman pull gleaner-registry:5000/gleaner-api:latest" in machine.asked()


def test_a_start_that_fails_says_so_at_its_end(machine: Machine) -> None:
    machine.install("podman")
    machine.install("podman-compose", answer='[[ "$*" != *proxy ]]')
    done = machine.run("up.sh")
    assert done.returncode == 1
    assert done.stderr.startswith("Not everything started")
