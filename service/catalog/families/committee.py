"""Strategies that rank by the disagreement of a committee."""

from service.catalog.entries import StrategyEntry

ENTRIES: tuple[StrategyEntry, ...] = ()
