"""Catalogue entries of installed packages: data alone, so that no process but the workers loads what stands behind."""

import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from typing import TypeVar

from service.catalog.entries import EstimatorEntry, FeaturizerEntry, StrategyEntry
from service.catalog.parameters import required, resolve
from service.errors import InvalidRequestError

GROUP = "gleaner.catalog"
"""The entry points that give entries, as `package.module:ENTRIES`."""

IMPLEMENTATIONS: Mapping[type, str] = {
    EstimatorEntry: "gleaner.estimators",
    StrategyEntry: "gleaner.strategies",
    FeaturizerEntry: "gleaner.featurizers",
}
"""The entry points that workers load, by the kind of entry; their names are those of the entries."""

_HEAVY = frozenset({"joblib", "pandas", "scipy", "sklearn", "torch", "workers"})
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

Entry = EstimatorEntry | StrategyEntry | FeaturizerEntry
E = TypeVar("E", EstimatorEntry, StrategyEntry, FeaturizerEntry)


class PluginError(Exception):
    """A plug-in cannot be used; the message names its package."""


def with_plugins(kind: type[E], own: Iterable[E]) -> Mapping[str, E]:
    """Our own entries of a kind by name, and behind them those of plug-ins.

    Raises:
        PluginError: when a plug-in is broken, or takes a name that is taken.
    """
    entries = {entry.name: entry for entry in own}
    owner = dict.fromkeys(entries, "Gleaner")
    for package, entry in _found():
        if isinstance(entry, kind):
            if entry.name in entries:
                raise PluginError(f"{package}: the name {entry.name!r} is taken by {owner[entry.name]}.")
            entries[entry.name], owner[entry.name] = entry, package
    return entries


@cache
def _found() -> tuple[tuple[str, Entry], ...]:
    """Every plug-in's entries with the name of its package, in the order of these names."""
    points = sorted(metadata.entry_points(group=GROUP), key=lambda point: (_package(point), point.name))
    found = [(_package(point), entry) for point in points for entry in _load(point)]
    for package, entry in found:
        _check(package, entry)
    _check_implementations(found)
    return tuple(found)


def _package(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def _load(point: metadata.EntryPoint) -> tuple[Entry, ...]:
    place = f"{_package(point)}: the entry point {point.name!r} of {GROUP} ({point.value})"
    before = _HEAVY & set(sys.modules)
    try:
        entries = point.load()
    except Exception as error:  # whatever another's code raises, the operator must hear whose it is
        raise PluginError(f"{place} cannot be loaded: {type(error).__name__}: {error}") from error
    loaded = sorted(_HEAVY & set(sys.modules) - before)
    if loaded:
        raise PluginError(f"{place} imports {', '.join(loaded)}. The API loads it, so it must be data alone.")
    if not isinstance(entries, tuple) or not all(isinstance(entry, Entry) for entry in entries):
        raise PluginError(f"{place} must be a tuple of EstimatorEntry, StrategyEntry and FeaturizerEntry.")
    return entries


def _check(package: str, entry: Entry) -> None:
    place = f"{package}: the entry {entry.name!r}"
    if not _NAME.fullmatch(entry.name):
        raise PluginError(f"{place} must have a name of small letters, digits and _.")
    if isinstance(entry, FeaturizerEntry) and entry.serves not in {"text", "tabular"}:
        raise PluginError(f"{place} must serve text or tabular: vectors are uploaded as they are.")
    if isinstance(entry, EstimatorEntry) and "regression" in entry.tasks:
        raise PluginError(f"{place} cannot serve regression: estimators of plug-ins tell classes apart.")
    if isinstance(entry, StrategyEntry) and (entry.picks == "labelled" or "answers" in entry.needs):
        raise PluginError(f"{place} must pick from the pool: what reviews rank by is found out by Gleaner itself.")
    rules = entry.parameters["properties"]
    needed = required(entry.parameters)
    try:
        resolve(entry.parameters, {name: rule["default"] for name, rule in rules.items() if name not in needed})
    except InvalidRequestError as error:
        for bad in error.errors:
            if bad.code != "missing_parameter":
                name = bad.pointer.removeprefix("/params/")
                raise PluginError(f"{place}: the default of {name!r} is wrong: {bad.detail}") from error
    except (KeyError, TypeError) as error:
        raise PluginError(f"{place}: its parameters are not made by `schema_of`, with a type each.") from error


def _check_implementations(found: Iterable[tuple[str, Entry]]) -> None:
    """Each entry has an entry point for workers and each of these an entry, as far as can be told without loading."""
    entries = {(IMPLEMENTATIONS[type(entry)], entry.name): package for package, entry in found}
    points = {
        (group, point.name): _package(point)
        for group in IMPLEMENTATIONS.values()
        for point in metadata.entry_points(group=group)
    }
    for group, name in sorted(entries.keys() - points.keys()):
        raise PluginError(f"{entries[group, name]}: the entry {name!r} has no entry point of that name in {group}.")
    for group, name in sorted(points.keys() - entries.keys()):
        raise PluginError(f"{points[group, name]}: the entry point {name!r} of {group} has no entry in {GROUP}.")
