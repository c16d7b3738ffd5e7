"""Logs: one JSON object a line on standard error, with the context of the request or job."""

import logging
import re
import sys

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

# A client may put a secret into a path or a name, a library one into its message. Keys and webhook secrets hold what
# bearer tokens and base64 may, perhaps percent-encoded.
_TOKEN = re.compile(r"(gln_|whsec_)[0-9A-Za-z._~+/=%-]{8,}")
# A password ends at the last @ of its host; SQLAlchemy takes one with slashes. Nothing is tried twice: texts are long.
_PASSWORD = re.compile(r"(://[^\s/:@\"]*:)[^\s@]*+(?P<host>(?:@[^\s/?@]*+(?=@))*+@)?")


def conceal(text: str) -> str:
    """Return `text` without the secrets that can be told by their form: keys, webhook secrets, passwords in URLs."""
    return _TOKEN.sub(r"\1...", _PASSWORD.sub(_without_password, text))


def _without_password(found: re.Match[str]) -> str:
    return f"{found[1]}...@" if found["host"] else found[0]


def _render(log: object, name: str, event: structlog.typing.EventDict) -> str:
    """Make the line of an event."""
    line = structlog.processors.JSONRenderer()(log, name, event)
    return conceal(line if isinstance(line, str) else line.decode())


def configure_logging(level: str, *, role: str) -> None:
    """Set up structlog, and send the records of libraries through it."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, _render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _render,
            ],
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(LEVELS[level], logging.WARNING), force=True)


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of a module."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return bound
