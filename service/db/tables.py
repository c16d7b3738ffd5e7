"""The tables: the record of everything that was acknowledged."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, MetaData, false, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from service.db.types import Json, ProjectKey, UtcTime, string

SCHEMA = "0014"
"""The revision that this code needs, or a later one."""

_NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=_NAMING)
    type_annotation_map = {  # noqa: RUF012 - declared by SQLAlchemy
        str: string(),
        datetime: UtcTime,
        dict[str, Any]: Json,
        list[str]: Json,
        list[dict[str, Any]]: Json,
    }


def _some(name: str, columns: tuple[str, ...], condition: str) -> Index:
    """An index over some rows only, which costs the others nothing."""
    where = text(condition)
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


def _of_project(*, primary_key: bool = False, index: bool = False) -> Mapped[Any]:
    """The project that a row belongs to, and goes with."""
    key = ForeignKey("projects.id", ondelete="CASCADE")
    return mapped_column(ProjectKey, key, primary_key=primary_key, index=index)


class Project(Table):
    """A project and its configuration, as the client sent it with defaults filled in."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(string(40), primary_key=True)
    name: Mapped[str]
    state: Mapped[str]  # active | deleting
    version: Mapped[int]  # the ETag
    task: Mapped[dict[str, Any]]
    features: Mapped[dict[str, Any]]
    estimator: Mapped[dict[str, Any]]
    query: Mapped[dict[str, Any]]
    retraining: Mapped[dict[str, Any]]
    annotation: Mapped[dict[str, Any]]
    holdout_fraction: Mapped[float]
    seed: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    paused: Mapped[bool] = mapped_column(default=False, server_default=false())  # nothing begins
    goal: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)  # when labelling may stop; none: not told
    class_generation: Mapped[int] = mapped_column(default=0, server_default="0")  # renames and merges of its classes


class Pool(Table):
    """Counters of a project. A transaction that changes the pool or its labels locks this row first."""

    __tablename__ = "pools"

    project_id: Mapped[str] = _of_project(primary_key=True)
    next_row: Mapped[int] = mapped_column(default=0)
    change_sequence: Mapped[int] = mapped_column(default=0)
    chunk_generation: Mapped[int] = mapped_column(default=0)
    loose_vectors: Mapped[int] = mapped_column(default=0)  # rows whose vector is still a blob
    snapshot_key: Mapped[str | None] = mapped_column(default=None)  # candidate bitmap in object storage
    snapshot_sequence: Mapped[int] = mapped_column(default=0)
    snapshot_rows: Mapped[int] = mapped_column(default=0)
    data_fields: Mapped[list[str] | None] = mapped_column(default=list)  # what `data` ever held; null: too many names
    examples: Mapped[int] = mapped_column(default=0)
    examples_labeled: Mapped[int] = mapped_column(default=0)
    examples_skipped: Mapped[int] = mapped_column(default=0)
    labels_human: Mapped[int] = mapped_column(default=0)
    labels_automated: Mapped[int] = mapped_column(default=0)
    label_generation: Mapped[int] = mapped_column(default=0)  # changes of labels seen
    trained_generation: Mapped[int] = mapped_column(default=0)  # changes covered by the last succeeded training
    attempted_generation: Mapped[int] = mapped_column(default=0, server_default="0")  # those of any that ended
    train_at: Mapped[datetime | None] = mapped_column(default=None, index=True)  # when a timer asks for a training
    model_version: Mapped[int] = mapped_column(default=0)  # the serving model; 0: none
    pin: Mapped[str | None] = mapped_column(default=None)  # trained | external: the kind of model that goes on serving
    upload_id: Mapped[str | None] = mapped_column(default=None)  # the large upload that holds the pool
    upload_until: Mapped[datetime | None] = mapped_column(default=None)
    programs: Mapped[int] = mapped_column(
        default=0, server_default="0"
    )  # annotators: without any, nobody looks for one


class Example(Table):
    """One item of a pool. `row` is its place in every array; a new row is taken when its features change."""

    __tablename__ = "examples"
    # room for the counts of each to change in its page: then no index needs to change, which costs twice as much
    __table_args__ = (
        Index(None, "project_id", "row", unique=True),
        _some("ix_examples_first", ("project_id", "row"), "priority IS NOT NULL OR pinned"),
        _some("ix_examples_gold", ("project_id", "row"), "gold IS NOT NULL"),
        _some("ix_examples_grouped", ("project_id", "group_name", "row"), "group_name IS NOT NULL"),
        {"postgresql_with": {"fillfactor": 50}},
    )

    project_id: Mapped[str] = _of_project(primary_key=True)
    example_id: Mapped[str] = mapped_column(string(256), primary_key=True)
    row: Mapped[int]
    data: Mapped[str | None]  # JSON text, as sent
    split: Mapped[str]  # pool | test | gold
    group: Mapped[str | None] = mapped_column("group_name")
    priority: Mapped[float | None]
    content_hash: Mapped[bytes]
    features_hash: Mapped[bytes]
    label_count: Mapped[int]  # current labels, skips not counted
    skip_count: Mapped[int]
    upload_id: Mapped[str | None]  # set by a large upload: invisible until that is published
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    pinned: Mapped[bool] = mapped_column(default=False, server_default=false())  # goes before any priority
    gold: Mapped[str | None] = mapped_column(default=None)  # the right answer of a gold question, as labels are kept


class LooseVector(Table):
    """A vector of a small upload, until the merge job writes it into a chunk."""

    __tablename__ = "loose_vectors"

    project_id: Mapped[str] = _of_project(primary_key=True)
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    vector: Mapped[bytes]  # little-endian float32


class Chunk(Table):
    """An immutable file with rows [start, stop) of one array. Live from generation `born` until `retired`."""

    __tablename__ = "chunks"
    __table_args__ = (Index(None, "project_id", "array", "start"),)

    key: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = _of_project()
    array: Mapped[str]
    start: Mapped[int]
    stop: Mapped[int]
    kind: Mapped[str]  # dense | csr
    columns: Mapped[int]
    dtype: Mapped[str]
    born: Mapped[int]
    retired: Mapped[int | None]


class ArrayBuild(Table):
    """Which running job, by its token, fills the missing ranges of an array now: a single flight."""

    __tablename__ = "array_builds"

    project_id: Mapped[str] = _of_project(primary_key=True)
    array: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str]


class CandidateChange(Table):
    """A change of who may be picked, since the snapshot: rows [start, stop) all `value`, or as `bits` say."""

    __tablename__ = "candidate_changes"

    project_id: Mapped[str] = _of_project(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    start: Mapped[int]
    stop: Mapped[int]
    value: Mapped[bool]
    bits: Mapped[bytes | None]


class Upload(Table):
    """A large upload. Its new examples are visible once it is `publishing`; then `staged` rows are applied."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(string(40), primary_key=True)
    project_id: Mapped[str] = _of_project(index=True)
    state: Mapped[str]  # staging | publishing | published
    start: Mapped[int]
    stop: Mapped[int]
    created_at: Mapped[datetime]


class StagedExample(Table):
    """A row of a large upload whose example exists already: applied after the upload is published."""

    __tablename__ = "staged_examples"

    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    content: Mapped[dict[str, Any]]


_AUTOMATED = text("source = 'automated'")


class Label(Table):
    """One annotator's current answer for one example: a value, or a skip."""

    __tablename__ = "labels"
    __table_args__ = (
        Index(None, "project_id", "example_id", "annotator", unique=True),
        Index(
            "ix_labels_automated", "project_id", "annotator", "id", sqlite_where=_AUTOMATED, postgresql_where=_AUTOMATED
        ),
    )

    # no foreign key: it costs a third of an insert, and labels are written only under the lock of their pool
    project_id: Mapped[str] = mapped_column(ProjectKey, primary_key=True)
    id: Mapped[str] = mapped_column(string(40), primary_key=True)
    example_id: Mapped[str] = mapped_column(string(256))
    annotator: Mapped[str]  # empty: not told
    value: Mapped[str | None]  # a class; none for a skip
    skip: Mapped[bool]
    source: Mapped[str]  # human | automated
    batch_id: Mapped[str | None]
    labeled_at: Mapped[datetime]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Autolabel(Table):
    """Labels that a model makes as a group; its id is their annotator."""

    __tablename__ = "autolabels"
    __table_args__ = (Index(None, "project_id", "id"),)

    id: Mapped[str] = mapped_column(string(40), primary_key=True)
    project_id: Mapped[str] = _of_project()
    job_id: Mapped[str]
    revocation_job_id: Mapped[str | None] = mapped_column(default=None)
    state: Mapped[str]  # queued | labelling | labelled | tried | refused | revoking | revoked
    target_precision: Mapped[float]
    confidence_level: Mapped[float]
    audit_share: Mapped[float]
    max_labels: Mapped[int | None]
    dry_run: Mapped[bool]
    model_version: Mapped[int | None] = mapped_column(default=None)
    outcome: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)
    labels: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None] = mapped_column(default=None)


class AutolabelMark(Table):
    """An example that a group leaves to people: to audit it, or as it has told what the model can do."""

    __tablename__ = "autolabel_marks"
    __table_args__ = (Index(None, "project_id", "kind"),)

    autolabel_id: Mapped[str] = mapped_column(ForeignKey("autolabels.id", ondelete="CASCADE"), primary_key=True)
    example_id: Mapped[str] = mapped_column(string(256), primary_key=True)
    project_id: Mapped[str] = mapped_column(ProjectKey)
    row: Mapped[int]
    kind: Mapped[str]  # audit: the group would have labelled it | tested: it told the precision, above the threshold
    value: Mapped[str]  # what the model says


class LabelHistory(Table):
    """What a label was before it was changed or deleted."""

    __tablename__ = "label_history"

    id: Mapped[int] = mapped_column(primary_key=True)
    label_id: Mapped[str] = mapped_column(index=True)
    project_id: Mapped[str] = _of_project(index=True)
    example_id: Mapped[str] = mapped_column(string(256))
    annotator: Mapped[str]
    value: Mapped[str | None]
    skip: Mapped[bool]
    source: Mapped[str]
    labeled_at: Mapped[datetime]
    replaced_at: Mapped[datetime]


class Lease(Table):
    """An example promised to an annotator, or to a batch when no annotator was named."""

    __tablename__ = "leases"
    __table_args__ = (
        Index(None, "project_id", "expires_at"),
        Index(None, "project_id", "annotator"),
        Index(None, "job_id"),
    )

    project_id: Mapped[str] = _of_project(primary_key=True)
    example_id: Mapped[str] = mapped_column(string(256), primary_key=True)
    holder: Mapped[str] = mapped_column(primary_key=True)  # `annotator:<name>` or the batch's job id
    annotator: Mapped[str | None]
    job_id: Mapped[str]
    row: Mapped[int]
    expires_at: Mapped[datetime]


def _one_training(state: str, condition: str) -> Index:
    where = text(condition)
    return Index(f"uq_jobs_training_{state}", "project_id", unique=True, sqlite_where=where, postgresql_where=where)


class Job(Table):
    """Queued work. Terminal states never change; `token` fences off a worker that lost its lease."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "project_id", "kind", "state"),
        Index(None, "state", "lease_until"),
        _some("ix_jobs_finished", ("finished_at",), "finished_at IS NOT NULL AND removed_at IS NULL"),
        # The database says so: one training runs in a project, and one waits that never ran.
        _one_training("running", "kind = 'training' AND state = 'running'"),
        _one_training("waiting", "kind = 'training' AND state = 'queued' AND attempt = 0"),
    )

    id: Mapped[str] = mapped_column(string(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ProjectKey)  # outlives its project: a deletion can be followed to its end
    kind: Mapped[str]
    queue: Mapped[str]
    state: Mapped[str]  # queued | running | succeeded | failed | cancelled
    payload: Mapped[dict[str, Any]]
    attempt: Mapped[int] = mapped_column(default=0)
    passing_faults: Mapped[int] = mapped_column(default=0, server_default="0")  # attempts that ended for no fault of it
    token: Mapped[str | None] = mapped_column(default=None)
    lease_until: Mapped[datetime | None] = mapped_column(default=None)
    rung_at: Mapped[datetime | None] = mapped_column(default=None)
    pinned_generation: Mapped[int | None] = mapped_column(default=None)  # chunk lists of it are being read
    label_generation: Mapped[int | None] = mapped_column(default=None)  # what a training has loaded
    progress_done: Mapped[int] = mapped_column(default=0)
    progress_total: Mapped[int] = mapped_column(default=0)
    progress_phase: Mapped[str] = mapped_column(default="queued")
    version: Mapped[int] = mapped_column(default=1)  # counts changes: the id of server-sent events
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None] = mapped_column(default=None)
    finished_at: Mapped[datetime | None] = mapped_column(default=None)
    error: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)
    result: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)
    traceparent: Mapped[str | None] = mapped_column(default=None)  # of what it was queued by
    removed_at: Mapped[datetime | None] = mapped_column(default=None)  # the body of its batch: the rest is a record


class Outbox(Table):
    """A job that must be rung in Redis, unless a worker claims it before `ring_after`."""

    __tablename__ = "outbox"
    __table_args__ = (Index(None, "ring_after"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    project_id: Mapped[str]
    ring_after: Mapped[datetime]


class Batch(Table):
    """The ranked answer of a query, exactly as it is served."""

    __tablename__ = "batches"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    project_id: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[datetime]
    body: Mapped[bytes]
    etag: Mapped[str]
    size: Mapped[int]
    strategy: Mapped[str]
    seed: Mapped[int]
    model_version: Mapped[int | None]
    row_high_water: Mapped[int]
    mask_hash: Mapped[str]


class BatchItem(Table):
    """Which example a batch holds, and with what propensity it was picked when it was picked at random."""

    __tablename__ = "batch_items"

    job_id: Mapped[str] = mapped_column(ForeignKey("batches.job_id", ondelete="CASCADE"), primary_key=True)
    example_id: Mapped[str] = mapped_column(string(256), primary_key=True)
    rank: Mapped[int]
    propensity: Mapped[float | None]


class Ranking(Table):
    """The prepared ranking from which examples are given one at a time, and the query that makes the next one."""

    __tablename__ = "rankings"

    project_id: Mapped[str] = _of_project(primary_key=True)
    annotator: Mapped[str] = mapped_column(primary_key=True)  # empty: everybody's, as long as overlap is 1
    job_id: Mapped[str | None]  # whose batch it is; none: the first is not made yet
    asked_job_id: Mapped[str | None]
    project_version: Mapped[int]  # when the newest query was asked for
    change_sequence: Mapped[int]  # of the pool, then


class Model(Table):
    """A trained model, or one of the client's own of which only the predictions are known."""

    __tablename__ = "models"

    project_id: Mapped[str] = _of_project(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    job_id: Mapped[str]  # empty: no job made it
    artifact_key: Mapped[str]  # empty: there is no file
    labels_used: Mapped[int]
    label_generation: Mapped[int]
    labels_hash: Mapped[str]
    classes: Mapped[list[str]]
    estimator: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    name: Mapped[str | None] = mapped_column(default=None)  # of the client's own; none: trained here
    open: Mapped[bool] = mapped_column(default=False, server_default=false())  # whether it takes more predictions
    members: Mapped[int] = mapped_column(default=0, server_default="0")  # whose predictions the client sent, too
    dimensions: Mapped[int | None] = mapped_column(default=None)  # of the vectors that the client sent with them
    by_class: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None, deferred=True)  # metrics by class code
    estimates: Mapped[dict[str, Any] | None] = mapped_column(Json, default=None)  # of how far the project's goal is
    superseded_at: Mapped[datetime | None] = mapped_column(default=None)  # when it served last, if it has served
    removed_at: Mapped[datetime | None] = mapped_column(default=None)  # its file, or what the client sent of it


class ObjectDigest(Table):
    """What was written into a file of a model, or of what was fitted to a pool; files of earlier releases have none."""

    __tablename__ = "object_digests"

    key: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[str] = _of_project(index=True)
    sha256: Mapped[str]


class Webhook(Table):
    """An endpoint that is told of events, or a program that is sent batches. Secrets are sealed."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(string(40), primary_key=True)
    project_id: Mapped[str | None] = _of_project(index=True)
    url: Mapped[str]
    events: Mapped[list[str]]
    secret: Mapped[str]
    previous_secret: Mapped[str | None]
    previous_until: Mapped[datetime | None]
    enabled: Mapped[bool]
    disabled_reason: Mapped[str | None]
    next_sequence: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    program: Mapped[bool] = mapped_column(default=False, server_default=false())  # of an annotator, and no webhook


class Annotator(Table):
    """A program that labels: where its batches go, what it may spend, and what it has."""

    __tablename__ = "annotators"
    __table_args__ = (Index(None, "project_id", "name", unique=True),)

    id: Mapped[str] = mapped_column(string(40), primary_key=True)
    project_id: Mapped[str] = _of_project()
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]  # the `annotator` of its labels
    batch_size: Mapped[int]
    lease_seconds: Mapped[int]
    max_labels: Mapped[int]
    max_cost: Mapped[float | None]
    labels_used: Mapped[int] = mapped_column(default=0)
    cost_used: Mapped[float] = mapped_column(default=0.0)
    failures: Mapped[int] = mapped_column(default=0)  # in a row
    state: Mapped[str]  # active | stopped
    stopped_reason: Mapped[str | None] = mapped_column(default=None)
    due_at: Mapped[datetime | None] = mapped_column(default=None, index=True)  # when the dispatcher looks at it
    rests_since: Mapped[int | None] = mapped_column(default=None)  # change of the pool at which nothing was left for it
    rests_until: Mapped[datetime | None] = mapped_column(default=None)  # when what others held then is free
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class AnnotatorCall(Table):
    """A batch that was made for a program, and what came of it."""

    __tablename__ = "annotator_calls"
    __table_args__ = (Index(None, "annotator_id", "id"),)

    id: Mapped[str] = mapped_column(string(40), primary_key=True)
    annotator_id: Mapped[str] = mapped_column(ForeignKey("annotators.id", ondelete="CASCADE"))
    job_id: Mapped[str | None] = mapped_column(index=True)  # of the batch; none: it could not even be asked for
    delivery_id: Mapped[str | None] = mapped_column(default=None, index=True)
    state: Mapped[str]  # ranking | sent | accepted | answered | failed | withdrawn
    failure: Mapped[str | None] = mapped_column(default=None)
    detail: Mapped[str | None] = mapped_column(default=None)
    size: Mapped[int] = mapped_column(default=0)
    labels: Mapped[int] = mapped_column(default=0)
    cost: Mapped[float] = mapped_column(default=0.0)
    change_sequence: Mapped[int]  # of the pool, when the batch was asked for
    expires_at: Mapped[datetime | None] = mapped_column(default=None)
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None] = mapped_column(default=None)


class Delivery(Table):
    """One event for one endpoint; its id is the `webhook-id` of every attempt."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index(None, "state", "next_attempt_at"),
        Index(None, "webhook_id", "sequence", unique=True),
        _some("ix_deliveries_finished", ("finished_at",), "finished_at IS NOT NULL"),
    )

    id: Mapped[str] = mapped_column(string(40), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    event: Mapped[str]
    sequence: Mapped[int]
    body: Mapped[str]
    state: Mapped[str]  # pending | succeeded | failed
    attempt: Mapped[int]
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    traceparent: Mapped[str | None] = mapped_column(default=None)  # of what it tells of


class DeliveryAttempt(Table):
    """What came of one attempt."""

    __tablename__ = "delivery_attempts"

    id: Mapped[int] = mapped_column(primary_key=True)
    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime]
    duration_ms: Mapped[int]
    status: Mapped[int | None]
    error: Mapped[str | None]
    excerpt: Mapped[str | None]


class Key(Table):
    """An API key: its fingerprint only."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(string(40), primary_key=True)
    name: Mapped[str]
    fingerprint: Mapped[str] = mapped_column(unique=True)
    hint: Mapped[str]
    owner: Mapped[str]  # the first key of a line of rotations
    scopes: Mapped[list[str]]
    project_id: Mapped[str | None] = _of_project(index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class IdempotentAnswer(Table):
    """A reserved or completed Idempotency-Key of an owner."""

    __tablename__ = "idempotent_answers"
    __table_args__ = (Index(None, "created_at"),)

    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[str]
    token: Mapped[str]  # who holds the reservation
    lease_until: Mapped[datetime | None]  # none: completed
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any] | None] = mapped_column(Json)
    body: Mapped[bytes | None]
    created_at: Mapped[datetime]


class ErrorList(Table):
    """The whole list of bad rows of a bulk body, kept a day."""

    __tablename__ = "error_lists"

    id: Mapped[str] = mapped_column(string(40), primary_key=True)
    project_id: Mapped[str] = _of_project(index=True)
    key: Mapped[str]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Removal(Table):
    """How many of a kind were removed as their time was over."""

    __tablename__ = "removals"

    kind: Mapped[str] = mapped_column(primary_key=True)
    total: Mapped[int] = mapped_column(BigInteger)


class Leader(Table):
    """Which process leads, and until when."""

    __tablename__ = "leaders"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    until: Mapped[datetime]
