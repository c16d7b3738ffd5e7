"""Every setting of Gleaner: the only place that reads the environment."""

import hashlib
import ipaddress
import os
import re
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from pydantic import DirectoryPath, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

MIB = 1024 * 1024
MAX_SOCKET_PATH_BYTES = 100

_OBJECTS_URL = re.compile(
    r"s3://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9])(?:/(?P<prefix>[\w-][\w.-]*(?:/[\w-][\w.-]*)*))?/?",
    re.ASCII,
)
_ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/?")
_LAST_PORT = 65_535
_LEAST_DELIVERY_DAYS = 10  # attempts go on for nine, and what was delivered meanwhile tells whether a receiver lives
_TRACES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Days = Annotated[int, Field(ge=0, le=36_500)]


def _is_address(address: str) -> bool:
    """Whether an address can be read, and its port, if it names one, can be one."""
    try:
        urlsplit(address if "//" in address else f"//{address}").port  # noqa: B018 - which raises
    except ValueError:
        return False
    return True


def _is_address_of_database(url: str) -> bool:
    """The same as SQLAlchemy reads it, to which an `@` and a `/` in a password mean something else."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415 - not every process has a database
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 - same

    try:
        port = make_url(url).port
    except (ArgumentError, ValueError):
        return False
    return port is None or 0 <= port <= _LAST_PORT


class Settings(BaseSettings):
    """Frozen settings, from `GLEANER_*` variables or keyword arguments."""

    model_config = SettingsConfigDict(env_prefix="GLEANER_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        default=Path("gleaner-data"),
        description="Folder of all files: bodies on their way, keys and the cache; without servers named, all data.",
    )
    database_url: Annotated[str, Field(pattern=r"^$|^(sqlite|postgresql)(\+\w+)?://")] = Field(
        default="", description="SQLAlchemy URL; empty: SQLite in the data folder."
    )
    api_connections: int = Field(default=40, gt=0, description="Most database connections of one API process.")
    dispatcher_connections: int = Field(default=10, gt=0, description="Most database connections of a dispatcher.")
    worker_connections: int = Field(
        default=0, ge=0, description="Most database connections of a running job; 0: two more than its threads."
    )
    objects_url: str = Field(default="", description="`s3://bucket/prefix`; empty: files in the data folder.")
    redis_url: Annotated[str, Field(pattern=r"^$|^(rediss?|unix)://")] = Field(
        default="", description="Redis URL; empty: a private server in the data folder."
    )
    admin_key: SecretStr | None = Field(default=None, description="The first admin key; else one is generated.")
    secret_key: SecretStr | None = Field(
        default=None, description="Seals secrets of webhooks and programs at rest; else generated."
    )
    old_secret_keys: SecretStr | None = Field(
        default=None, description="Earlier secret keys, comma separated: they open what they sealed, and seal no more."
    )
    secrets_dir: DirectoryPath | None = Field(
        default=None,
        description="Folder with a file for each secret setting, e.g. `gleaner_redis_url`; variables go first.",
    )
    public_url: str = Field(
        default="",
        description="How clients reach the API, when a proxy is in front; the API's metrics then need a key on this "
        "machine, too.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(default=(), description="Origins, comma separated.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")

    metrics_address: Annotated[str, Field(pattern=r"^$|^(\[[0-9a-fA-F:]+\]|[^:\s]+):[0-9]{1,5}$")] = Field(
        default="", description="Host and port on which `gleaner serve` answers `GET /metrics` without a key."
    )

    s3_endpoint: str = Field(default="", description="URL of a store other than AWS's.")
    s3_region: str = Field(default="", description="Region of the bucket; empty: what the environment of boto3 says.")
    s3_access_key: str = Field(default="", description="Empty: boto3 finds one (environment, profile, instance role).")
    s3_secret_key: SecretStr | None = Field(default=None, description="Of the access key.")
    s3_path_style: bool = Field(default=False, description="The bucket in the path of URLs, and not in the host name.")
    s3_connect_timeout_seconds: float = Field(default=3.0, gt=0, description="Longest wait for a connection to S3.")
    s3_read_timeout_seconds: float = Field(default=20.0, gt=0, description="Longest silence of S3 within an answer.")
    s3_attempts: int = Field(default=3, gt=0, description="Attempts of one call of S3, the first among them.")
    cache_dir: Path | None = Field(
        default=None, description="Folder of a host's copies of objects in S3; empty: in the data folder."
    )
    cache_mib: int = Field(
        default=10_240, ge=0, description="Most room for these copies, beside those in use; 0: none is kept."
    )

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
    query_timeout_seconds: int = Field(
        default=300, gt=0, description="Longest run of a query, prediction, agreement or export."
    )
    job_timeout_seconds: int = Field(default=3600, gt=0, description="Longest run of any other job.")
    query_memory_mib: int = Field(
        default=0, ge=0, description="Most memory of a query, prediction, agreement or export; 0: any."
    )
    job_memory_mib: int = Field(default=0, ge=0, description="Most memory of any other job; 0: any.")
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

    keep_jobs_days: Days = Field(
        default=90, description="Days that a job is kept after its end, and its result and batch with it; 0: for ever."
    )
    keep_deliveries_days: Days = Field(
        default=30, description="Days that a webhook delivery is kept after its end, 10 or more; 0: for ever."
    )
    keep_models: int = Field(
        default=20, ge=0, description="Newest models of a project whose files are kept in any case; 0: all."
    )
    keep_models_days: Days = Field(
        default=30, description="Days that the file of an older model is kept after it served last; 0: for ever."
    )
    keep_predictions_days: Days = Field(
        default=0, description="Days that uploaded predictions are kept after they served last; 0: for ever."
    )

    parallel: Literal["threads", "loky", "dask"] = Field(
        default="threads", description="Engine of the work over chunks: `threads`, `loky` (processes) or `dask`."
    )
    dask_scheduler: Annotated[str, Field(pattern=r"^$|^(tcp|tls)://(\[[0-9a-fA-F:]+\]|[^:/\s]+):[0-9]{1,5}$")] = Field(
        default="", description="The scheduler of a Dask cluster, e.g. `tcp://dask:8786`; for the engine `dask`."
    )
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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's interface
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - it would read one folder for all
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read keyword arguments, then variables, then the folder of secrets that a variable names."""
        folder = env_settings().get("secrets_dir")
        files = [SecretsSettingsSource(settings_cls, folder)] if folder and Path(folder).is_dir() else []
        return (init_settings, env_settings, *files)

    @field_validator("cors_origins", "webhook_allow", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("objects_url")
    @classmethod
    def _check_objects_url(cls, value: str) -> str:
        if value and not _OBJECTS_URL.fullmatch(value):
            raise ValueError("not s3://bucket or s3://bucket/prefix")
        return value

    @field_validator("s3_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str) -> str:
        if value and not _ENDPOINT.fullmatch(value):
            raise ValueError("not http://host:port or https://host:port, with nothing else in it")
        return value

    @field_validator("keep_deliveries_days")
    @classmethod
    def _check_delivery_days(cls, value: int) -> int:
        if 0 < value < _LEAST_DELIVERY_DAYS:
            raise ValueError(f"0, or at least {_LEAST_DELIVERY_DAYS}: a delivery may be attempted for nine days")
        return value

    @field_validator("database_url", "redis_url", "s3_endpoint", "metrics_address", "dask_scheduler")
    @classmethod
    def _check_port(cls, value: str, field: ValidationInfo) -> str:
        is_good = _is_address_of_database if field.field_name == "database_url" else _is_address
        if value and not is_good(value):
            raise ValueError(f"the port is no number up to {_LAST_PORT}, or nothing can read the address")
        return value

    @cached_property
    def bucket(self) -> tuple[str, str]:
        """The bucket of the objects, and what all their names begin with; both empty when they are files."""
        found = _OBJECTS_URL.fullmatch(self.objects_url)
        return (found["bucket"], f"{found['prefix']}/" if found["prefix"] else "") if found else ("", "")

    @cached_property
    def chunk_cache(self) -> Path:
        """The folder of a host's copies of objects."""
        return (self.cache_dir or self.data_dir / "cache").absolute()

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

    @cached_property
    def job_connections(self) -> int:
        """How many database connections one job may have: of its threads, of itself and of its heartbeat."""
        return self.worker_connections or self.chunk_threads + 2


def traces_wanted() -> bool:
    """Whether the standard variables of OpenTelemetry name a place for traces, and do not switch them off."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(os.environ.get(name) for name in _TRACES)
