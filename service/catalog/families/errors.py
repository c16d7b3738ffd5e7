"""Strategies that rank labelled examples."""

from service.catalog.entries import StrategyEntry, schema_of

LABEL_ERRORS = "label_errors"

ENTRIES: tuple[StrategyEntry, ...] = (
    StrategyEntry(
        name=LABEL_ERRORS,
        summary="Labelled examples whose label looks wrong, with the class that the other labels suggest instead.",
        paper="Northcutt, Jiang and Chuang 2021, Confident Learning, arXiv 1911.00068",
        kind="selector",
        parameters=schema_of(),
        needs=("predictions", "labels"),
        cost="O(n C) after cross-validation: two to five trainings on the labels.",
    ),
)
