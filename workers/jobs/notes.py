"""What results and events say of a model."""

from typing import Any

from service.db.tables import Model


def model_note(model: Model) -> dict[str, Any]:
    """Version, labels and metrics."""
    return {"version": model.version, "labels_used": model.labels_used, "metrics": model.metrics}
