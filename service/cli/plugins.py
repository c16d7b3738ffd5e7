"""`gleaner plugins`: what installed packages add, and whether all of it can be used."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, metadata

import click

from service.catalog.plugins import PluginError
from workers.learning.plugins import PluginError as ImplementationError

CATALOGUES = ("service.catalog.estimators", "service.catalog.strategies", "service.catalog.featurizers")

REGISTRIES = (
    "workers.learning.estimators.registry",
    "workers.learning.featurizers.registry",
    "workers.learning.strategies.registry",
)


@contextmanager
def explained() -> Iterator[None]:
    """End the command with a sentence when a plug-in cannot be used.

    Raises:
        click.ClickException: it names the package.
    """
    try:
        yield
    except (PluginError, ImplementationError) as error:
        raise click.ClickException(f"A plug-in cannot be used. {error}") from error


def check_catalogue() -> None:
    """Load the catalogue, with what plug-ins add to it; none of their code but these entries.

    Raises:
        click.ClickException: a plug-in is broken.
    """
    with explained():
        for module in CATALOGUES:
            import_module(module)


@click.command()
def plugins() -> None:
    """List what installed packages add, and load all of it; the exit code is 1 when something is wrong."""
    check_catalogue()
    with explained():
        for module in REGISTRIES:
            import_module(module)
        import_module("workers.jobs.plugins").check()
    groups = ("gleaner.estimators", "gleaner.featurizers", "gleaner.strategies")
    points = [point for group in groups for point in metadata.entry_points(group=group)]
    for point in points:
        package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
        click.echo(f"{package:<32} {point.group:<20} {point.name}")
    click.echo(f"{len(points)} added by plug-ins." if points else "No plug-in is installed.")
