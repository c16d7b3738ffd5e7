"""The stopping rules that `GET /v1/stopping-rules` lists. Their parameters are fields of a project's `goal`."""

from collections.abc import Mapping

from service.catalog.entries import StoppingRuleEntry, schema_of
from service.catalog.tasks import EVERY_TASK, Task

TARGETS: Mapping[Task, tuple[str, ...]] = {
    "classification": ("accuracy", "balanced_accuracy", "macro_f1"),
    "multi_label": ("micro_f1", "macro_f1", "subset_accuracy"),
    "regression": ("r2",),
}
"""The metrics that a goal can name: they are better when higher, and at most 1."""

RECALL = 0.95
"""The share of a class that is to be found, where a goal does not tell."""

_ENTRIES = (
    StoppingRuleEntry(
        name="metric_reached",
        summary="The goal's metric is reached beyond doubt: its 95 % interval lies above the target, measured on a "
        "test set or a held-out share. Figures by cross-validation never meet it: labels that were picked are no fair "
        "sample.",
        parameters=schema_of(
            metric={
                "type": ["string", "null"],
                "default": None,
                "description": "Of the models: "
                + "; ".join(f"{task}: {', '.join(names)}" for task, names in TARGETS.items())
                + ".",
            },
            at_least={"type": ["number", "null"], "maximum": 1, "default": None, "description": "Its target."},
        ),
        needs=("labels",),
        tasks=EVERY_TASK,
    ),
    StoppingRuleEntry(
        name="recall_reached",
        summary="So large a share of a class is found with 95 % confidence, by the hypergeometric test of Callaghan "
        "and Müller-Hansen 2020 (doi 10.1186/s13643-020-01521-4) on the held-out share, which is drawn at random. The "
        "confidence is that of one look: whoever looks again and again, and stops at the first that is met, stops too "
        "early more often (Lewis, Yang and Frieder 2021, arXiv 2108.12746). The pool must not have grown meanwhile.",
        parameters=schema_of(
            find={"type": "string", "format": "class", "description": "The class to find."},
            recall={
                "type": "number",
                "minimum": 0.01,
                "maximum": 1,
                "default": RECALL,
                "description": "Which share of its examples is enough.",
            },
        ),
        needs=("labels",),
        tasks=("classification", "multi_label"),
    ),
)

STOPPING_RULES: Mapping[str, StoppingRuleEntry] = {entry.name: entry for entry in _ENTRIES}
