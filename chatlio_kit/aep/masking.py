"""Mask inlet URLs, tokens and client secrets in messages and logs."""

from __future__ import annotations

import logging
import re
from urllib.parse import urlsplit

from chatlio_kit.settings import Secret, sealed

HIDDEN = "***"

# An inlet's URL is its only credential (Sources: streaming SDK, `authRequired: false`).
_PATTERNS = (
    re.compile(r"(?i)((?:/|%2F)collection(?:/|%2F)(?:batch(?:/|%2F))?)[^/?#\s\"'<>\\)\]},;]+"),
    re.compile(r"(?i)(inlet\s?id[\"']?\s*[:=]\s*[\[\"']*)[0-9a-z-]+"),
    re.compile(r"(?i)(bearer\s+)[\w.~+/=-]+"),
    re.compile(r"(?i)((?:client_secret|access_token)[\"']?\s*[:=]\s*[\"']?)[^&\s\"',}]+"),
    re.compile(r"()\beyJ[\w-]+\.[\w-]+(?:\.[\w-]+)?"),
)


def masked(text: str, *secrets: str) -> str:
    """Replace every inlet path, token and given secret in a string with ``***``."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, HIDDEN)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


@sealed
def masked_url(url: Secret) -> str:
    """Return an inlet's URL in a form that is safe to show: its host, without the inlet's id."""
    parts = urlsplit(url.reveal())
    return f"{parts.scheme}://{parts.netloc}/collection/{HIDDEN}"


class MaskingFilter(logging.Filter):
    """Mask log records in place; drop none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the record's text."""
        text = record.getMessage()
        hidden = masked(text)
        if hidden != text:
            record.msg, record.args = hidden, ()
        return True


def mask_http_logs() -> None:
    """Mask secrets in urllib3's logs, which print the path of each request."""
    for name in ("urllib3.connectionpool", "urllib3.poolmanager", "urllib3.util.retry"):
        log = logging.getLogger(name)
        if not any(isinstance(log_filter, MaskingFilter) for log_filter in log.filters):
            log.addFilter(MaskingFilter())
