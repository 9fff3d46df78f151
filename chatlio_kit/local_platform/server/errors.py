"""The documented error envelope of each service."""

from __future__ import annotations

import secrets
import time
from typing import Any

from ..store import Json


class ApiError(Exception):
    """An error that becomes a response with an error status and a JSON body."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(body)
        self.status = status
        self.body = body
        self.headers: dict[str, str] = {}


def gateway(error_code: str, message: str) -> ApiError:
    """Return a refusal of the gateway in front of all APIs; the code begins with the status.

    Source: Experience Platform troubleshooting guide, "API error messages".
    """
    return ApiError(int(error_code[:3]), {"error_code": error_code, "message": message})


def ims(error: str, description: str) -> ApiError:
    """Return a refusal of Adobe's identity management: 400 with ``error`` and ``error_description``."""
    return ApiError(400, {"error": error, "error_description": description})


def flow_service(code: str, title: str, message: str, *, resource: tuple[str, str] | None = None) -> ApiError:
    """Return a refusal of Flow Service.

    Args:
        code: As in its table, e.g. ``1403-400``.
        title: The kind of refusal.
        message: Description of the error.
        resource: Type and id of a missing resource.

    Source: Flow Service: error codes; and the sample in "Data usage labels".
    """
    report: Json = {"detailed-message": message, "request-id": secrets.token_urlsafe(16)}
    if resource:
        report["type"], report["id"] = resource
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
    """Return a refusal of Schema Registry; ``code`` is one such as ``XDM-1521-400``.

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
    """Return a problem document, because Catalog, Data Prep and others do not document their error bodies."""
    body: Json = {"type": "about:blank", "status": status, "title": title, "detail": detail}
    if report:
        body["report"] = report
    return ApiError(status, body)


def bad_request(detail: str) -> ApiError:
    """Return a problem document for a request that cannot be understood."""
    return generic(400, "BadRequestError", detail)


def not_found(what: str) -> ApiError:
    """Return a problem document for something that does not exist."""
    return generic(404, "NotFoundError", f"There is no {what}")


def content_type() -> ApiError:
    """Return the refusal of a body without the call's media type.

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
    """Return a refusal of the streaming endpoint.

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
