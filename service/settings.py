"""Every setting of Gleaner: the only place that reads the environment."""

import hashlib
import ipaddress
import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 1024 * 1024
MAX_SOCKET_PATH_BYTES = 100

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Settings(BaseSettings):
    """Frozen settings, from `GLEANER_*` variables or keyword arguments."""

    model_config = SettingsConfigDict(env_prefix="GLEANER_", frozen=True, extra="ignore")

    data_dir: Path = Field(default=Path("gleaner-data"), description="Folder of the embedded form's files.")
    database_url: str = Field(default="", description="SQLAlchemy URL; empty: SQLite in the data folder.")
    redis_url: str = Field(default="", description="Redis URL; empty: a private server in the data folder.")
    admin_key: SecretStr | None = Field(default=None, description="The first admin key; else one is generated.")
    secret_key: SecretStr | None = Field(default=None, description="Seals webhook secrets at rest; else generated.")
    old_secret_keys: SecretStr | None = Field(
        default=None, description="Earlier secret keys, comma separated: they open what they sealed, and seal no more."
    )
    public_url: str = Field(default="", description="How clients reach the API, when a proxy is in front.")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(default=(), description="Origins, comma separated.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")

    max_body_bytes: int = Field(default=MIB, gt=0, description="Largest ordinary JSON body.")
    max_bulk_bytes: int = Field(default=2048 * MIB, gt=0, description="Largest bulk body as sent.")
    max_decoded_bytes: int = Field(default=8192 * MIB, gt=0, description="Largest bulk body once decompressed.")
    max_json_bytes: int = Field(default=64 * MIB, gt=0, description="Largest bulk body of application/json.")
    max_line_bytes: int = Field(default=4 * MIB, gt=0, description="Longest row of a bulk body.")
    max_rows: int = Field(default=10_000_000, gt=0, description="Most rows of one bulk body.")
    table_memory_mib: int = Field(
        default=1024,
        gt=0,
        description="Most memory for decoding an Arrow or Parquet body, beside the body.",
    )
    max_labels: int = Field(default=20_000, gt=0, description="Most labels of one body: they are one transaction.")
    max_batch: int = Field(default=10_000, gt=0, description="Largest k of a query.")

    head_timeout_seconds: float = Field(default=10.0, gt=0, description="Longest wait for the head of a request.")
    stall_seconds: float = Field(default=10.0, gt=0, description="Over how long the least rate of a client is judged.")
    min_bytes_per_second: int = Field(
        default=500, gt=0, description="A client that sends its body, or reads its answer, slower is cut off."
    )
    max_connections: int = Field(default=2000, gt=0, description="Connections of one API process before 503.")
    max_connections_per_address: int = Field(
        default=1000, gt=0, description="Connections of one address (of a proxy, too) to one API process before 503."
    )

    job_lease_seconds: float = Field(default=10.0, gt=0, description="A running job without a heartbeat is lost then.")
    job_max_attempts: int = Field(default=8, gt=0, description="Attempts before a job fails as worker-lost.")
    job_timeout_seconds: int = Field(default=3600, gt=0, description="Longest run of a training, merge or deletion.")
    query_timeout_seconds: int = Field(default=300, gt=0, description="Longest run of a query or a prediction.")
    job_memory_mib: int = Field(default=0, ge=0, description="Most memory of a training, merge or deletion; 0: any.")
    query_memory_mib: int = Field(default=0, ge=0, description="Most memory of a query or a prediction; 0: any.")
    jobs_in_queue_per_project: int = Field(default=16, gt=0, description="Fair share: jobs of a project in Redis.")
    max_jobs_per_project: int = Field(default=10_000, gt=0, description="Unfinished jobs of a project before 429.")
    max_jobs: int = Field(default=100_000, gt=0, description="Unfinished jobs in all before 503.")
    dispatcher_tick_seconds: float = Field(default=0.5, gt=0, description="How often the dispatcher looks.")
    sweep_seconds: float = Field(default=2.0, gt=0, description="How often Redis is compared with the jobs table.")
    leader_lease_seconds: float = Field(default=6.0, gt=0, description="How long a silent dispatcher stays leader.")
    idempotency_hours: int = Field(default=24, ge=24, description="How long answers can be replayed.")
    idempotency_lease_seconds: float = Field(
        default=30.0, gt=0, description="A request whose process died holds its Idempotency-Key for so long."
    )
    upload_lease_seconds: float = Field(
        default=60.0, gt=0, description="A large upload whose process died keeps others from its project for so long."
    )

    parallel: Literal["threads", "loky"] = Field(default="threads", description="Engine of the work over chunks.")
    threads: int = Field(default=0, ge=0, description="Parallel chunks within a job; 0: one per core.")

    embedding_model: str = Field(
        default="",
        description="Folder of a model of model2vec for the featurizer `embedding`; empty: that of wordllama.",
    )

    webhook_allow: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(), description="CIDRs, comma separated, that webhooks may reach although they are not public."
    )
    webhook_timeout_seconds: float = Field(default=15.0, gt=0, description="Total deadline of one delivery attempt.")
    webhook_concurrency: int = Field(default=4, gt=0, description="Deliveries under way at once per endpoint.")

    @field_validator("cors_origins", "webhook_allow", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @cached_property
    def earlier_secrets(self) -> tuple[str, ...]:
        """The secrets that only open, as they are to be tried."""
        told = self.old_secret_keys.get_secret_value() if self.old_secret_keys else ""
        return tuple(part.strip() for part in told.split(",") if part.strip())

    @cached_property
    def sql_url(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'gleaner.sqlite3'}"

    @cached_property
    def redis_socket(self) -> Path:
        """The private socket of the embedded Redis-protocol server.

        It lies in the data folder; when that path is too long for a socket's address (107 bytes on Linux, 103 on
        macOS), in a folder whose name is made from the user and the data folder: of the temporary folder or, when that
        path is too long as well, of `/tmp`.
        """
        folder = self.data_dir.absolute()
        name = f"gleaner-{os.getuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
        last = Path("/tmp") / name  # noqa: S108 - the server refuses to start in a folder that is not this user's alone
        paths = (place / "redis.sock" for place in (folder, Path(tempfile.gettempdir()) / name))
        return next((path for path in paths if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES), last / "redis.sock")

    @cached_property
    def queue_url(self) -> str:
        """The Redis URL in force."""
        return self.redis_url or f"unix://{quote(str(self.redis_socket))}"

    @cached_property
    def objects_dir(self) -> Path:
        """The folder of the local object store."""
        return self.data_dir.absolute() / "objects"

    @cached_property
    def spool_dir(self) -> Path:
        """Where bodies are spooled; on the data folder's disk, as /tmp is often memory."""
        return self.data_dir.absolute() / "spool"

    @cached_property
    def chunk_threads(self) -> int:
        """How many chunks one job works on at a time."""
        return self.threads or os.cpu_count() or 1
