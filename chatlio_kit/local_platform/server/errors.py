"""How each service says no: the documented error envelopes."""

from __future__ import annotations

import secrets
import time
from typing import Any

from ..store import Json


class ApiError(Exception):
    """A request that is answered with an error status and a JSON body."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(body)
        self.status = status
        self.body = body
        self.headers: dict[str, str] = {}


def gateway(error_code: str, message: str) -> ApiError:
    """The gateway in front of every API; the first three digits of the code are the status.

    Source: Experience Platform troubleshooting guide, "API error messages".
    """
    return ApiError(int(error_code[:3]), {"error_code": error_code, "message": message})


def ims(error: str, description: str) -> ApiError:
    """Adobe's identity management: 400 with ``error`` and ``error_description``."""
    return ApiError(400, {"error": error, "error_description": description})


def flow_service(code: str, title: str, message: str, *, found: tuple[str, str] | None = None) -> ApiError:
    """Flow Service: ``code`` as in its table, e.g. ``1403-400``; ``found`` is type and id of what is missing.

    Source: Flow Service: error codes; and the sample in "Data usage labels".
    """
    report: Json = {"detailed-message": message, "request-id": secrets.token_urlsafe(16)}
    if found:
        report["type"], report["id"] = found
    status = int(code[-3:])
    return ApiError(
        status,
        {
            "type": f"https://ns.adobe.com/aep/errors/FLOW-{code}",
            "title": title,
            "status": status,
            "report": report,
            "errorMessage": message,
            "errorDetails": message,
        },
    )


def schema_registry(code: str, title: str, detail: str, sub_errors: list[Any] | None = None) -> ApiError:
    """Schema Registry: ``code`` such as ``XDM-1521-400``.

    Source: Schema Registry troubleshooting guide.
    """
    status = int(code[-3:])
    return ApiError(
        status,
        {
            "type": f"http://ns.adobe.com/aep/errors/{code}",
            "title": title,
            "status": status,
            "report": {
                "registryRequestId": secrets.token_hex(16),
                "timestamp": time.strftime("%m-%d-%Y %H:%M:%S", time.gmtime()),
                "detailed-message": detail,
                "sub-errors": sub_errors or [],
            },
            "detail": detail,
        },
    )


def generic(status: int, title: str, detail: str, report: Json | None = None) -> ApiError:
    """A problem document, for the services whose error bodies are not documented: Catalog, Data Prep, ..."""
    body: Json = {"type": "about:blank", "status": status, "title": title, "detail": detail}
    if report:
        body["report"] = report
    return ApiError(status, body)


def content_type() -> ApiError:
    """A body without the media type the call asks for.

    Source: Experience Platform troubleshooting guide.
    """
    return ApiError(
        400,
        {
            "type": "/placeholder/type/uri",
            "status": 400,
            "title": "BadRequestError",
            "detail": "A valid content-type must be specified",
        },
    )


def collection(
    status: int, message: str, *, title: str = "Invalid XDM Message Format", cause: Json | None = None
) -> ApiError:
    """The streaming endpoint.

    Source: "Retrieve failed batches" and "Streaming ingestion validation".
    """
    report: Json = {"message": message}
    if cause:
        report["cause"] = cause
    return ApiError(
        status,
        {
            "type": "http://ns.adobe.com/adobecloud/problem/data-collection-service/inlet",
            "status": status,
            "title": title,
            "report": report,
        },
    )
