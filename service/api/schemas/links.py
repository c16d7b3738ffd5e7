"""The links of the OpenAPI document: which answer names what another operation takes."""

from collections.abc import Iterator, Mapping
from typing import Any

_PROJECT = {"project_id": "$request.path.project_id"}
_JOB = ("getJob", "cancelJob", "followJob")
_WEBHOOK = ("getWebhook", "changeWebhook", "deleteWebhook", "rotateWebhookSecret", "testWebhook", "listDeliveries")
_ANNOTATOR = ("getAnnotator", "changeAnnotator", "deleteAnnotator", "rotateAnnotatorSecret", "listCalls")
_OF_PROJECT = (
    *("getProject", "changeProject", "deleteProject", "uploadExamples", "listExamples", "recordLabels", "listLabels"),
    *("createQuery", "createTraining", "createAgreement", "listModels", "listJobs", "getProgress"),
    *("createAnnotator", "listAnnotators", "createAutolabels", "listAutolabels"),
)


def _named(parameter: str, at: str, *targets: str, **more: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Links to operations that take `parameter`, which the answer holds at a JSON pointer."""
    for target in targets:
        yield target, {**more, parameter: f"$response.body#{at}"}


_LINKS: Mapping[tuple[str, str], tuple[tuple[str, dict[str, str]], ...]] = {
    ("createProject", "201"): tuple(_named("project_id", "/id", *_OF_PROJECT)),
    ("listProjects", "200"): tuple(_named("project_id", "/items/0/id", *_OF_PROJECT)),
    ("deleteProject", "202"): tuple(_named("job_id", "/id", "getJob")),
    ("listExamples", "200"): tuple(_named("example_id", "/items/0/id", "getExample", "deleteExample", **_PROJECT)),
    ("listLabels", "200"): (
        *_named("label_id", "/items/0/id", "deleteLabel", **_PROJECT),
        *_named("example_id", "/items/0/example_id", "getExample", **_PROJECT),
    ),
    ("createQuery", "202"): tuple(_named("job_id", "/id", *_JOB, "getBatch", "renewBatch", "releaseBatch")),
    ("createTraining", "202"): tuple(_named("job_id", "/id", *_JOB)),
    ("createAgreement", "202"): tuple(_named("job_id", "/id", *_JOB)),
    ("listJobs", "200"): tuple(_named("job_id", "/items/0/id", *_JOB)),
    ("getBatch", "200"): (
        *_named("job_id", "/job_id", "renewBatch", "releaseBatch"),
        *_named("example_id", "/items/0/example_id", "getExample", project_id="$response.body#/project_id"),
    ),
    ("listModels", "200"): tuple(
        _named("version", "/items/0/version", "getModel", "getModelCard", "getModelArtifact", "predict", **_PROJECT)
    ),
    ("createKey", "201"): tuple(_named("key_id", "/id", "getKey", "rotateKey", "revokeKey")),
    ("rotateKey", "201"): tuple(_named("key_id", "/id", "getKey", "revokeKey")),
    ("createAnnotator", "201"): tuple(_named("annotator_id", "/id", *_ANNOTATOR, **_PROJECT)),
    ("listAnnotators", "200"): tuple(_named("annotator_id", "/items/0/id", *_ANNOTATOR, **_PROJECT)),
    ("createAutolabels", "202"): tuple(_named("job_id", "/id", *_JOB)),
    ("listAutolabels", "200"): tuple(
        _named("autolabel_id", "/items/0/id", "getAutolabels", "revokeAutolabels", **_PROJECT)
    ),
    ("createWebhook", "201"): tuple(_named("webhook_id", "/id", *_WEBHOOK)),
    ("listWebhooks", "200"): tuple(_named("webhook_id", "/items/0/id", "getWebhook", "listDeliveries")),
    ("testWebhook", "202"): (
        *_named("webhook_id", "/webhook_id", "listDeliveries"),
        *_named("delivery_id", "/id", "redeliver", webhook_id="$response.body#/webhook_id"),
    ),
    ("listDeliveries", "200"): tuple(
        _named("delivery_id", "/items/0/id", "redeliver", webhook_id="$request.path.webhook_id")
    ),
}


def add(document: dict[str, Any]) -> None:
    """Write the links into the answers of the document's operations."""
    operations = {
        operation["operationId"]: operation for methods in document["paths"].values() for operation in methods.values()
    }
    for (source, status), links in _LINKS.items():
        operations[source]["responses"][status]["links"] = {
            target: {"operationId": target, "parameters": parameters} for target, parameters in links
        }
