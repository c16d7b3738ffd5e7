"""Strategies that rank labelled examples."""

from service.catalog.entries import StrategyEntry, schema_of

ENTRIES: tuple[StrategyEntry, ...] = (
    StrategyEntry(
        name="label_errors",
        summary="Labelled examples whose label looks wrong, with the class that the other labels suggest instead.",
        paper="Northcutt, Jiang and Chuang 2021, Confident Learning, arXiv 1911.00068",
        kind="selector",
        parameters=schema_of(),
        needs=("predictions", "labels"),
        cost="O(n C) after cross-validation: two to five trainings on the labels.",
        picks="labelled",
    ),
    StrategyEntry(
        name="disputed",
        summary="Examples with several answers whose annotators disagree most, with the most probable class.",
        paper="Dagan and Engelson 1995, doi 10.1016/B978-1-55860-377-6.50027-X, with annotators as the committee",
        kind="selector",
        parameters=schema_of(),
        needs=("answers",),
        cost="O(n log n) in the answers; it needs no model.",
        picks="labelled",
    ),
)
