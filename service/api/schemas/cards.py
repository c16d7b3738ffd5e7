"""The card of a model that leaves the service."""

from typing import Any, Literal

from pydantic import Field

from service.actions.exports import estimator_of, has_encoder, why_no_onnx
from service.actions.models import features_of, why_removed
from service.api.schemas.base import Schema
from service.api.schemas.loading import load_onnx_in_javascript, load_onnx_in_python, load_skops_in_python
from service.api.schemas.models import CurvePoint
from service.db.tables import Model, Project


class ModelForm(Schema):
    """A form of a model's file."""

    format: Literal["skops", "encoder", "onnx"]
    available: bool
    reason: str | None = Field(description="Why the model cannot be had in this form.")
    url: str
    load: dict[str, str] = Field(
        description="By language (`python`, `javascript`), a program that loads the file and predicts an example. That "
        "of `skops` loads the `encoder`, too, where there is one."
    )


class ModelCard(Schema):
    """What whoever uses a model outside of the service has to know."""

    project_id: str
    project_name: str
    version: int
    task: dict[str, Any]
    classes: list[str] = Field(description="In the order of the columns of `probabilities`.")
    features: dict[str, Any] = Field(description="What the model sees of an example.")
    estimator: str = Field(description="What was trained, also where `auto` chose it.")
    params: dict[str, Any] = Field(description="Its parameters, those chosen on the data included.")
    seed: int
    labels_hash: str = Field(description="Of the labels that it learnt: the same ones give the same model.")
    curve_point: CurvePoint = Field(description="How many labels it learnt, when, and how good it is.")
    limits: list[str] = Field(description="What the figures do not tell.")
    formats: list[ModelForm]

    @classmethod
    def of(cls, project: Project, model: Model, base_url: str) -> "ModelCard":
        """The card of a model that was trained here."""
        url = f"{base_url.rstrip('/')}/v1/projects/{project.id}/models/{model.version}/artifact"
        gone = why_removed(model)
        reason = gone or why_no_onnx(project, model)
        loads = (
            {} if reason else {"python": load_onnx_in_python(project), "javascript": load_onnx_in_javascript(project)}
        )
        skops = {"python": load_skops_in_python(project, model)}
        forms = [ModelForm(format="skops", available=not gone, reason=gone, url=f"{url}?format=skops", load=skops)]
        if has_encoder(model):
            encoder = f"{url}?format=encoder"
            forms.append(ModelForm(format="encoder", available=not gone, reason=gone, url=encoder, load={}))
        forms.append(
            ModelForm(format="onnx", available=not reason, reason=reason, url=f"{url}?format=onnx", load=loads)
        )
        return cls(
            project_id=project.id,
            project_name=project.name,
            version=model.version,
            task=project.task,
            classes=model.classes,
            features=features_of(project, model),
            estimator=estimator_of(model),
            params={**model.estimator["params"], **model.estimator.get("chosen", {})},
            seed=model.estimator["seed"],
            labels_hash=model.labels_hash,
            curve_point=CurvePoint.of(model),
            limits=_limits(model),
            formats=forms,
        )


def _limits(model: Model) -> list[str]:
    if any(metric["biased"] for metric in model.metrics.values()):
        return ["Measured by cross-validation on labels that were picked to be learnt from, not drawn at random."]
    return []
