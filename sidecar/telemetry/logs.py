"""Log lines as JSON, one a line, on standard error."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

LOGGER = "sidecar"


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryConfig:
    """What is told, and how much of it.

    Attributes:
        log_level: The least that is told.
    """

    log_level: Literal["debug", "info", "warning", "error"] = "info"


class JsonFormatter(logging.Formatter):
    """One JSON object a line; line breaks in a message are escaped, so no line can be forged."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"at": at, "level": record.levelname.lower(), "message": record.getMessage()}
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(config: TelemetryConfig) -> logging.Logger:
    """The process's logger, writing JSON to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # aiohttp logs what it could not parse, and with it whatever stood there: a key, perhaps.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    logger = logging.getLogger(LOGGER)
    logger.setLevel(config.log_level.upper())
    return logger
