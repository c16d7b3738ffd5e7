"""Whether a strategy of the catalogue can serve a project, and with which parameters."""

from collections.abc import Mapping
from typing import Any

from service.catalog.entries import StrategyEntry
from service.catalog.names import listed
from service.catalog.parameters import resolve
from service.catalog.strategies import STRATEGIES, reviews, unknown
from service.catalog.tasks import classes_of, task_of
from service.db.tables import Model, Project
from service.errors import FieldError, InvalidRequestError

SMALLEST_COMMITTEE = 2


def suitable(project: Project, name: str, *, pointer: str, serving: Model | None = None) -> StrategyEntry:
    """The strategy of that name, which serves the project's task and has what it needs, now or after a training.

    With a serving model of the client's own it needs what was uploaded.

    Raises:
        InvalidRequestError: at `pointer`, with the remedy.
    """
    if name not in STRATEGIES:
        raise _refused("There is no such strategy.", pointer, "unknown_strategy", unknown(name))
    entry = STRATEGIES[name]
    if (fault := _unsuitable(project, entry, serving)) is not None:
        raise _refused("The strategy does not suit the project.", pointer, *fault)
    return entry


def resolved(
    project: Project, entry: StrategyEntry, params: Mapping[str, Any], *, pointer: str = "/params"
) -> dict[str, Any]:
    """Every parameter of the strategy, checked against the catalogue and the project's classes."""
    return resolve(entry.parameters, params, pointer=pointer, classes=classes_of(project.task))


def _unsuitable(project: Project, entry: StrategyEntry, serving: Model | None) -> tuple[str, str] | None:
    """The code and sentence of what keeps the strategy from serving the project, or None."""
    task = task_of(project.task)
    if task not in entry.tasks:
        others = listed(sorted(name for name, other in STRATEGIES.items() if task in other.tasks))
        return "wrong_task", f"`{entry.name}` serves {', '.join(entry.tasks)}, not {task}. Choose one of: {others}."
    uploaded = serving if serving is not None and serving.name is not None else None
    if _needs_features(entry, uploaded) and project.features["type"] == "none":
        others = listed(sorted(name for name, other in STRATEGIES.items() if not _needs_features(other, None)))
        remedy = f"Upload predictions with a `vector` each and activate them, or choose one of: {others}."
        return "no_features", f"`{entry.name}` needs features, and the project has none. {remedy}"
    if uploaded is not None:
        return _not_uploaded(entry, uploaded)
    if "committee" in entry.needs and project.estimator["params"].get("committee", 0) < SMALLEST_COMMITTEE:
        remedy = f"Set `estimator.params.committee` to at least {SMALLEST_COMMITTEE} (PATCH the project), then train."
        return "no_committee", f"`{entry.name}` needs a committee, and the project trains none. {remedy}"
    return None


def _needs_features(entry: StrategyEntry, uploaded: Model | None) -> bool:
    """Whether the strategy needs features of the project, as no vectors came with predictions."""
    if reviews(entry.name):
        return "predictions" in entry.needs  # it trains models on the labels
    # A composite is made of other strategies and takes those that suit.
    asks = "features" in entry.needs and entry.kind != "composite"
    return asks and not (uploaded is not None and uploaded.dimensions)


def _not_uploaded(entry: StrategyEntry, uploaded: Model) -> tuple[str, str] | None:
    """What the strategy needs of a model of the client's own beside what was uploaded, or None."""
    if "committee" in entry.needs and not uploaded.members:
        remedy = "Upload rows with `members` under another name and activate that version."
        return "no_committee", f"`{entry.name}` needs a committee, and the predictions came without members. {remedy}"
    if "model" in entry.needs:
        others = listed(sorted(name for name, other in STRATEGIES.items() if "model" not in other.needs))
        remedy = f"Activate a version that was trained here, or choose one of: {others}."
        detail = f"`{entry.name}` asks the model itself, and only its predictions were uploaded. {remedy}"
        return "external_model", detail
    return None


def _refused(title: str, pointer: str, code: str, detail: str) -> InvalidRequestError:
    return InvalidRequestError(f"{title} {detail}", errors=[FieldError(pointer, code, detail)])
