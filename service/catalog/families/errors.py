"""Strategies that rank labelled examples."""

from service.catalog.entries import StrategyEntry

ENTRIES: tuple[StrategyEntry, ...] = ()
