"""The events that a webhook can subscribe to."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EventEntry:
    """An event; `carries` names the members of `data` that only some events have."""

    name: str
    summary: str
    carries: tuple[str, ...] = ()


_ENTRIES = (
    EventEntry(name="training.succeeded", summary="A training ended. `model` is null when no model could be trained."),
    EventEntry(name="training.failed", summary="A training failed.", carries=("error",)),
    EventEntry(name="query.succeeded", summary="A batch is ready to be fetched.", carries=("batch",)),
    EventEntry(name="query.failed", summary="A query failed.", carries=("error",)),
    EventEntry(
        name="pool.exhausted",
        summary="A query without a filter found fewer examples than it asked for.",
        carries=("batch",),
    ),
    EventEntry(name="stopping.suggested", summary="A stopping rule is met that was not met by the model before."),
    EventEntry(
        name="webhook.disabled",
        summary="Another endpoint of the project, or of the whole service, was switched off.",
        carries=("webhook",),
    ),
    EventEntry(name="annotator.stopped", summary="A program is asked for no more labels.", carries=("annotator",)),
    EventEntry(name="webhook.test", summary="Somebody asked for a test of this endpoint.", carries=("webhook",)),
)

EVENTS: Mapping[str, EventEntry] = {entry.name: entry for entry in _ENTRIES}

REQUEST = "annotation.requested"
"""What a program is sent; nobody else can subscribe to it."""
