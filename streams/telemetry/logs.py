"""Logs: one pipeline for our events and for those of the libraries, on standard error.

Ours are structlog events, a static name and fields; Faust, mode, librdkafka and httpx log text through the standard
library. Both end in the same processors: time, level, logger, exception as text, masking, one renderer. What must stay
true: masking comes after everything that can put text into an event, and a JSON event is one line.
"""

import json
import logging
import logging.config
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from streams.telemetry.masking import mask_fields
from streams.telemetry.stderr import StderrHandler

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]

# Libraries that tell of every request, or of what is expected, at info. The last two are ours: Faust names its services
# after the modules of their classes, and tells of every service that starts or stops.
_QUIET = (
    "httpx",
    "httpcore",
    "aiohttp.access",
    "asyncio",
    "aiokafka",
    "faust",
    "mode",
    "streams.kafka.transport",
    "streams.kafka.faust_seam",
)


def configure_logging(format: Format = "auto", level: Level = "info") -> None:  # noqa: A002 - the setting's name
    """Set logging up for this process. ``auto`` is ``console`` where standard error is a terminal, else ``json``."""
    logging.config.dictConfig(logging_config(format, level))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def logging_config(format: Format = "auto", level: Level = "info") -> dict[str, Any]:  # noqa: A002 - the setting's name
    """Return the configuration for :func:`logging.config.dictConfig`, to hand to Faust as well.

    Without it Faust's worker would give the root logger a coloured formatter of its own, past the masking.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"callstream": {"()": formatter, "format": format}},
        "handlers": {"stderr": {"()": StderrHandler, "formatter": "callstream"}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {name: {"level": "WARNING" if level != "error" else "ERROR"} for name in _QUIET},
    }


def formatter(format: Format = "auto") -> logging.Formatter:  # noqa: A002 - the setting's name
    """Return the formatter that renders every record, ours and the libraries'."""
    console = format == "console" or (format == "auto" and sys.stderr.isatty())
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_shared()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            # The traceback as text: no local variables, so that masking sees all there is.
            structlog.processors.format_exc_info,
            structlog.processors.StackInfoRenderer(),
            _mask,
            *([_escape_controls, _console_renderer()] if console else [_render_json]),
        ],
    )


def _shared() -> list[Processor]:
    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return mask_fields(event)


_FIRST = ("timestamp", "level", "event", "logger")


# JSON lets them stand as they are, but many a reader takes them for the end of a line, or a terminal for a command.
_LINE_ENDS = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}


def _render_json(_logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]) -> str:
    ordered = {name: event.pop(name) for name in _FIRST if name in event} | dict(event)
    try:
        line = orjson.dumps(ordered, default=repr).decode()
        return line if line.isascii() and "\x7f" not in line else line.translate(_LINE_ENDS)
    except TypeError:
        # Lone surrogates and integers beyond 64 bits, which orjson refuses.
        return json.dumps(ordered, default=repr)


# A text from outside must not colour the terminal, move its cursor or begin a line that looks like another event.
_CONTROLS = {code: f"\\x{code:02x}" for code in range(0x20)} | _LINE_ENDS
_MULTILINE = {code: text for code, text in _CONTROLS.items() if chr(code) not in "\n\t"}


def _escape_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = value.translate(_MULTILINE if name in {"exception", "stack"} else _CONTROLS)
    return event


def _console_renderer() -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=30
    )
