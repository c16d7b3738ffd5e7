"""The API process: it answers and never computes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from pkgutil import iter_modules
from threading import Event

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from prometheus_client import REGISTRY, CollectorRegistry
from starlette.middleware.cors import CORSMiddleware

from service.actions import labels
from service.actions.labels import Submission, Submitted
from service.api import problems, routes
from service.api.deps import callers
from service.api.deps.grouping import Groups
from service.api.deps.recent_callers import RecentCallers
from service.api.deps.runtime import Runtime, open_runtime
from service.api.middleware import Authentication, BodyLimit, HeadAsGet, RequestContext
from service.api.schemas import openapi
from service.codecs.media import CHUNK_BYTES
from service.metrics import ApiMetrics
from service.settings import Settings
from service.telemetry import configure_logging
from service.tracing.starting import start

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(settings: Settings | None = None, *, lifespan: Lifespan | None = None) -> FastAPI:
    """The application of one API process.

    Args:
        settings: From the environment when None.
        lifespan: What the server enters before the first request and leaves after the last.
    """
    settings = settings or Settings()
    configure_logging(settings.log_level, role="serve")
    start("serve")
    return build(open_runtime(settings, connections=settings.api_connections), lifespan=lifespan, registry=REGISTRY)


def build(runtime: Runtime, *, lifespan: Lifespan | None = None, registry: CollectorRegistry | None = None) -> FastAPI:
    """The application over open stores, which counts in `registry`, or in one of its own."""
    app = FastAPI(
        title="Gleaner",
        version=openapi.VERSION,
        summary="Active learning as a service",
        description=openapi.DESCRIPTION,
        contact={"name": "The Gleaner authors"},
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=openapi.TAGS,
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        separate_input_output_schemas=False,
    )
    app.state.runtime = runtime
    app.state.registry = registry or CollectorRegistry()
    app.state.metrics = ApiMetrics(app.state.registry)
    app.state.exposition = None  # made when it is first asked for
    app.state.label_groups = Groups(_counted(app.state.metrics), most=64, most_bytes=CHUNK_BYTES)
    app.state.recent_callers = RecentCallers(runtime.authenticate)
    app.state.stopping = Event()  # set when the server is to stop, so that streams and waiting requests end
    for module in sorted(iter_modules(routes.__path__), key=lambda found: found.name):
        router = import_module(f"{routes.__name__}.{module.name}").router
        callers.declare(router.routes)
        app.router.routes += router.routes  # as they are: included, each would be made again for this application
    problems.install(app)
    _wrap(app, runtime)
    openapi.install(app)
    return app


def _counted(metrics: ApiMetrics) -> Callable[[Sequence[Submission]], list[Submitted | Exception]]:
    """Recording labels, with a count of those that are."""

    def submit(submissions: Sequence[Submission]) -> list[Submitted | Exception]:
        results = labels.submit(submissions)
        metrics.stored_labels(sum(done.outcome.stored for done in results if isinstance(done, Submitted)))
        return results

    return submit


def _wrap(app: FastAPI, runtime: Runtime) -> None:
    """Add the middleware, the innermost first."""
    settings = runtime.settings
    recent: RecentCallers = app.state.recent_callers
    app.add_middleware(
        Authentication,
        find=recent.find,
        authenticate=recent.authenticate,
        has_neighbours=not settings.public_url,  # a proxy in front may be on this machine
    )
    app.add_middleware(
        BodyLimit,
        ordinary=settings.max_body_bytes,
        vectors=settings.max_json_bytes,
        bulk=settings.max_bulk_bytes,
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["ETag", "Location", "Retry-After", "X-Request-Id", "Idempotent-Replayed"],
        )
    app.add_middleware(HeadAsGet)
    page = get_swagger_ui_html(openapi_url="/openapi.json", title=f"{app.title} - Swagger UI")
    app.add_middleware(RequestContext, page=bytes(page.body), metrics=app.state.metrics)
