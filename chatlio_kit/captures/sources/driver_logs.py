"""What drivers and the HTTP client log while captures are fetched, without anything secret in it."""

from __future__ import annotations

import logging
import re
from typing import Any

from chatlio_kit.captures.sources.remote import without_secrets

_DRIVERS = frozenset(
    {
        "adlfs", "aiobotocore", "aiohttp", "azure", "boto3", "botocore", "fsspec", "gcsfs", "google", "msal",
        "s3fs", "s3transfer",
    }
)  # fmt: skip
_CLIENTS = frozenset({"requests", "urllib3"})
_HIDDEN = "(a driver's debug message is not shown: it may hold credentials)"
_QUERY = re.compile(r"(?<=\?)[^\s\"'<>]*=[^\s\"'<>]*")


def mask_driver_logs() -> None:
    """Mask what drivers log, at every level and by every handler.

    Signed URLs lose their queries. Drivers' debug messages hold whole requests with their signatures and
    tokens, so none of their text goes on.
    """
    make = logging.getLogRecordFactory()
    if not isinstance(make, _MaskingFactory):
        logging.setLogRecordFactory(_MaskingFactory(make))


class _MaskingFactory:
    """Makes log records as another factory does, and masks those of drivers."""

    def __init__(self, make: Any) -> None:
        self._make = make

    def __call__(self, *args: Any, **named: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._make(*args, **named)
        origin = record.name.partition(".")[0]
        if origin in _DRIVERS and record.levelno <= logging.DEBUG:
            record.msg, record.args, record.exc_info = _HIDDEN, (), None
        elif origin in _DRIVERS or origin in _CLIENTS:
            text = record.getMessage()
            hidden = _QUERY.sub("***", without_secrets(text))
            if hidden != text:
                record.msg, record.args = hidden, ()
        return record
