"""Whether the strategies of plug-ins are what the catalogue says; other entries say nothing that could differ."""

from importlib import metadata

from service.catalog.strategies import STRATEGIES
from workers.learning.plugins import PluginError, package_of
from workers.learning.strategies.registry import SELECTORS, needs_of


def check() -> None:
    """Compare kinds and needs.

    Raises:
        PluginError: they differ.
    """
    for point in metadata.entry_points(group="gleaner.strategies"):
        entry, needs = STRATEGIES[point.name], needs_of(point.name)
        place = f"{package_of(point)}: the entry says that {point.name!r}"
        if (entry.kind == "scorer") == (point.name in SELECTORS):
            kinds = ("scorer", "selector") if point.name in SELECTORS else (entry.kind, "scorer")
            raise PluginError(f"{place} is a {kinds[0]}; it is a {kinds[1]}.")
        if set(entry.needs) != set(needs):
            told, real = (", ".join(names) or "nothing" for names in (entry.needs, needs))
            raise PluginError(f"{place} needs {told}; it needs {real}.")
