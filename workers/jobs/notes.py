"""What results and events say of a model."""

from typing import Any

from service.db.tables import Model


def model_note(model: Model) -> dict[str, Any]:
    """Version, labels and metrics."""
    return {"version": model.version, "labels_used": model.labels_used, "metrics": model.metrics}


_WHY_NOT = {
    "no_features": "The project has no features to learn from: it is served by predictions that you upload.",
    "too_few_labels": "Label more examples: fewer than two are there to learn from. Nothing is learnt of test rows, of "
    "gold questions and of the held-out part.",
    "one_class": "Label examples of another class: all that are there to learn from say the same.",
    "classes_changed": "Classes were renamed or merged while the model was trained. Train again.",
}


def no_model_note(reason: str) -> dict[str, Any]:
    """The result of a training without a model, and what to do about it."""
    return {"model": None, "reason": reason, "detail": f"No model was trained. {_WHY_NOT[reason]}"}
