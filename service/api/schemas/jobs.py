"""Jobs out."""

from typing import Any

from pydantic import Field

from service.api.schemas.base import Schema, State, Time, problem_document
from service.db.tables import Job
from service.errors import catalogue

TERMINAL = ("succeeded", "failed", "cancelled")


class Progress(Schema):
    """How far a job has come."""

    done: int
    total: int = Field(description="0 while it is not known.")
    phase: str


class JobOut(Schema):
    """Queued work and what became of it."""

    id: str
    kind: str = Field(examples=["query", "training"])
    state: State
    project_id: str
    progress: Progress
    attempts: int = Field(description="Runs so far; a job whose worker was lost is run again.")
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    error: dict[str, Any] | None = Field(description="A problem, when the job failed.")
    result: dict[str, Any] | None = Field(
        description="What came of it. A training that found too little to learn from succeeds without a model: then "
        "`model` is null, `reason` says why, and `detail` what to do."
    )
    links: dict[str, str]
    removed_at: Time | None = Field(
        description="When the batch of a query was removed, as it was old. The job stays, as labels refer to it."
    )

    @classmethod
    def of(cls, job: Job, base_url: str) -> "JobOut":
        """From the job's row."""
        progress = Progress(done=job.progress_done, total=job.progress_total, phase=job.progress_phase)
        links = {
            "self": f"/v1/jobs/{job.id}",
            "events": f"/v1/jobs/{job.id}/events",
            "cancel": f"/v1/jobs/{job.id}/cancel",
        }
        if job.kind == "query" and job.removed_at is None:
            links["batch"] = f"/v1/jobs/{job.id}/batch"
        if job.kind in {"autolabel", "revocation"}:
            links["autolabel"] = f"/v1/projects/{job.project_id}/autolabels/{job.payload['autolabel_id']}"
        if job.kind == "export":
            model = f"/v1/projects/{job.project_id}/models/{job.payload['version']}"
            links["artifact"] = f"{model}/artifact?format=onnx"
        return cls(
            id=job.id,
            kind=job.kind,
            state=job.state,  # type: ignore[arg-type] # the column holds the states only
            project_id=job.project_id,
            progress=progress,
            attempts=job.attempt,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            error=problem_of(job.error, base_url),
            result=job.result,
            links=links,
            removed_at=job.removed_at,
        )


JOB_EVENT = {
    "type": "object",
    "description": "One event of the stream: `progress`, then one named like the state in which the job ended.",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$", "description": "Send the last one as `Last-Event-ID`."},
        "event": {"enum": ["progress", *TERMINAL]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/JobOut"},
        },
    },
}


def problem_of(error: dict[str, Any] | None, base_url: str) -> dict[str, Any] | None:
    """A stored error as a problem of this service."""
    if error is None:
        return None
    return problem_document(base_url, catalogue()[error["name"]], detail=error["detail"])
