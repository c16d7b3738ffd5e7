"""Strategies that rank by what a label would change."""

from service.catalog.entries import StrategyEntry

ENTRIES: tuple[StrategyEntry, ...] = ()
