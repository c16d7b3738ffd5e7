"""The command `gleaner`. A command's module is imported only when that command runs."""

import os
from importlib import import_module, metadata

import click

from service.cli.first_process import step_aside

COMMANDS = {
    "up": ("service.cli.up:up", "Run everything on this machine: API, dispatcher, workers, database, queue."),
    "demo": ("service.cli.demo:demo", "Watch active learning beat random labelling on real data."),
    "serve": ("service.cli.roles:serve", "Run the HTTP API."),
    "worker": ("service.cli.roles:worker", "Run a worker: trainings, queries, maintenance."),
    "dispatcher": ("service.cli.roles:dispatcher", "Run the dispatcher: timers, lost jobs, webhook deliveries."),
    "migrate": ("service.cli.roles:migrate", "Bring the database to the present schema and make the admin key."),
    "ready": ("service.cli.ready:ready", "Ask a running API whether it can serve requests."),
    "backup": ("service.cli.backup:backup", "Back the running service up into a folder."),
    "restore": ("service.cli.backup:restore", "Restore a backup into an empty service."),
    "check": ("service.cli.check:check", "Look for lost, damaged and left over data, and repair what is derived."),
    "plugins": ("service.cli.plugins:plugins", "List what installed packages add, and check it."),
    "openapi": ("service.cli.roles:openapi", "Print the OpenAPI description of the HTTP API."),
    "bench": ("service.cli.bench:bench", "Measure speed and memory, as a table and JSON."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and summaries, and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's interface
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # same
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        try:
            command: click.Command = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"`gleaner {cmd_name}` needs {error.name}, which is not installed. Install gleaner[embedded]."
            ) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # same
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings are GLEANER_* variables, e.g. GLEANER_DATABASE_URL, GLEANER_REDIS_URL, GLEANER_DATA_DIR.",
)
@click.version_option(metadata.version("gleaner"), prog_name="gleaner")
def main() -> None:
    """Gleaner: active learning as a service.

    `gleaner up` starts all of it on one machine. With servers of your own, run `gleaner migrate` once and then any
    number of `gleaner serve`, `gleaner worker` and `gleaner dispatcher`.
    """
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        os.environ.pop(name, None)  # of another program, in whose files a process of ours would count
    step_aside()


if __name__ == "__main__":
    main()
