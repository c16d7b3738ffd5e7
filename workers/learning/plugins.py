"""What installed packages add to the registries: loaded by whichever process uses these."""

from collections.abc import Mapping
from importlib import metadata
from typing import TypeVar

T = TypeVar("T")


class PluginError(Exception):
    """A plug-in cannot be used; the message names its package."""


def with_plugins(group: str, own: Mapping[str, T], kind: type[T]) -> Mapping[str, T]:
    """Our own implementations by name, and behind them those of a group of entry points.

    Args:
        group: such as `gleaner.estimators`.
        own: by name.
        kind: what an entry point must give an instance of.

    Raises:
        PluginError: when a plug-in is broken, or takes a name that is taken.
    """
    found = dict(own)
    for point in sorted(metadata.entry_points(group=group), key=lambda point: point.name):
        place = f"{point.dist.name if point.dist else point.value}: the entry point {point.name!r} of {group}"
        if point.name in found:
            raise PluginError(f"{place} takes a name that is taken.")
        try:
            loaded = point.load()
        except Exception as error:  # whatever another's code raises, the operator must hear whose it is
            raise PluginError(f"{place} cannot be loaded: {type(error).__name__}: {error}") from error
        if not isinstance(loaded, kind):
            raise PluginError(f"{place} ({point.value}) must give {kind.__name__}, not {type(loaded).__name__}.")
        found[point.name] = loaded
    return found
