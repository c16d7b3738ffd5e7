"""What installed packages add to the registries: loaded by whichever process uses these."""

from collections.abc import Mapping
from importlib import metadata
from typing import TypeVar

T = TypeVar("T")


class PluginError(Exception):
    """A plug-in cannot be used; the message names its package."""


def package_of(point: metadata.EntryPoint) -> str:
    """The name of the package that has the entry point."""
    return point.dist.name if point.dist is not None else point.value


def with_plugins(
    group: str, own: Mapping[str, T], kinds: tuple[type, ...], *, classes: bool = False
) -> Mapping[str, T]:
    """Our own implementations by name, and behind them those of a group of entry points.

    Args:
        group: such as `gleaner.estimators`.
        own: by name.
        kinds: what an entry point must give an instance of.
        classes: that it must be a class of these kinds itself.

    Raises:
        PluginError: when a plug-in is broken, or takes a name that is taken.
    """
    found = dict(own)
    for point in sorted(metadata.entry_points(group=group), key=lambda point: point.name):
        place = f"{package_of(point)}: the entry point {point.name!r} of {group}"
        if point.name in found:
            raise PluginError(f"{place} takes a name that is taken.")
        try:
            loaded = point.load()
        except Exception as error:  # whatever another's code raises, the operator must hear whose it is
            raise PluginError(f"{place} cannot be loaded: {type(error).__name__}: {error}") from error
        right = isinstance(loaded, type) and issubclass(loaded, kinds) if classes else isinstance(loaded, kinds)
        if not right:
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise PluginError(f"{place} ({point.value}) must give {'a class of ' if classes else ''}{wanted}.")
        found[point.name] = loaded
    return found
