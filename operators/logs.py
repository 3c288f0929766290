"""Structured logs: one JSON object a line, without secrets. Knows no resources."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime

_SECRETS = (
    re.compile(r"(?i)(bearer|basic)\s+[\w.~+/=-]{6,}"),
    re.compile(r"(?i)((?:api[_-]?key|token|password|secret)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]{3,}"),
    re.compile(r"(://[^/\s:@]+:)[^@\s/]+(?=@)"),
    re.compile(r"()\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"),
)


def without_secrets(text: str) -> str:
    """``text`` with bearer tokens, keys, passwords and credentials in addresses replaced by ``***``.

    >>> without_secrets("Authorization: Bearer abcdef123456")
    'Authorization: Bearer ***'
    """
    text = _SECRETS[0].sub(lambda found: f"{found[1]} ***", text)
    for pattern in _SECRETS[1:]:
        text = pattern.sub(lambda found: f"{found[1]}***", text)
    return text


class Json(logging.Formatter):
    """``{"time", "level", "logger", "message", ...}``; the object that a handler works on is named where known."""

    def format(self, record: logging.LogRecord) -> str:
        row = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
        }
        where = getattr(record, "k8s_ref", None)
        if where:
            row["object"] = f"{where.get('kind')} {where.get('namespace')}/{where.get('name')}"
        if record.exc_info:
            row["exception"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(row, ensure_ascii=False)


class Plain(logging.Formatter):
    """For people at a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def configure(log_format: str, level: str) -> None:
    """Log to stderr in ``log_format`` (json or plain)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if log_format == "json" else Plain())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpx2", "aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
