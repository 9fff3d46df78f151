"""Translate each service's error envelope into one error tree.

Each service has its own envelope (Experience Platform: troubleshooting guide; Flow Service, Schema Registry,
Identity and streaming ingestion: error pages). The first key that contains a sentence is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from chatlio_kit.aep.http import Reply
from chatlio_kit.aep.masking import masked
from chatlio_kit.errors import (
    AuthenticationFailed,
    Conflict,
    NotFound,
    PermissionMissing,
    PlatformError,
    RateLimited,
    Unavailable,
    Unreachable,
)

_LONGEST_REASON = 400
_LONGEST_TITLE = 80
_CODE_IN_TYPE = re.compile(r"/([A-Z]+-\d+-\d{3})$")
_REQUEST_ID_HEADERS = ("x-request-id", "x-adobe-request-id")

# The permissions of each service, named as in Adobe's Permissions screen (Access control: overview).
_PERMISSIONS = {
    "Schema Registry": "View Schemas and Manage Schemas",
    "Catalog": "View Datasets and Manage Datasets",
    "Data Access": "View Datasets",
    "Batch ingestion": "View Datasets and Manage Datasets",
    "Flow Service": "View Sources and Manage Sources",
    "Data Prep": "Manage Sources, and access to every field of the schema",
}

_RENEW = (
    "Check AEP_CLIENT_SECRET. If it is right, the credential may have been revoked: renew it in the Adobe "
    "Developer Console."
)
_PROFILE = (
    "Add Experience Platform and a product profile of your organisation to the credential's project, "
    "and check AEP_ORG_ID."
)
_CLIENT = "Check AEP_CLIENT_ID: it is sent as x-api-key and must belong to the same project as the secret."
_SANDBOX = "Check AEP_SANDBOX: it takes the sandbox's name in lower case, and the role must include it."
_BUSY = "The object is changing state; wait a minute and try again."

ADVICE = {
    "401013": _RENEW,
    "403010": _RENEW,
    "403000": _CLIENT,
    "403003": _CLIENT,
    "400003": "Set AEP_ORG_ID to your organisation's id, which ends in @AdobeOrg.",
    "403025": _PROFILE,
    "403027": _PROFILE,
    "429050": "Wait a minute, then try again with fewer concurrent calls.",
    "FLOW-1403-400": "Read the object again and send its etag as If-Match.",
    "FLOW-1404-412": "The object has changed in the meantime; read it again, then repeat the change.",
    "FLOW-1418-400": "Delete the dataflows that use it first.",
    "FLOW-1419-400": "Check that the credential's role may see every field that is mapped.",
    "FLOW-1420-400": _BUSY,
    "FLOW-1421-400": _BUSY,
    "FLOW-1422-400": _BUSY,
    "FLOW-1425-400": "Dataset, mapping set and target connection must name one schema.",
    "FLOW-1447-400": "Delete the dataflows that use it first.",
    "FLOW-2000-401": _PROFILE,
    "FLOW-2100-404": _SANDBOX,
    "FLOW-2101-404": _SANDBOX,
    "FLOW-2103-404": _SANDBOX,
    "FLOW-2105-400": _SANDBOX,
    "FLOW-2114-400": _RENEW,
    "FLOW-2115-400": _RENEW,
    "XDM-1521-400": "Titles are unique across all resource types of a tenant; choose another name.",
    "invalid_client": "Check AEP_CLIENT_ID and AEP_CLIENT_SECRET in the Adobe Developer Console.",
    "invalid_scope": "Set AEP_SCOPES to the scopes that the Adobe Developer Console shows for it.",
}
_CODES_OF_CREDENTIAL = frozenset({"403000", "403003", "403010", "FLOW-2114-400", "FLOW-2115-400"})
_CODES_OF_CONFLICT = frozenset({"XDM-1521-400", "FLOW-1404-412"})


def error_of(service: str, operation: str, reply: Reply, *, secrets: tuple[str, ...] = ()) -> PlatformError:
    """Return the error to raise for the response to a failed call.

    Args:
        service: The API that was called.
        operation: The operation, in words that follow "could not".
        reply: The response.
        secrets: Strings that must not appear in the error.

    Returns:
        The error, with the platform's own message, its code and the next step.
    """
    status, content = reply.status_code, reply.content
    if _is_web_page(content) and 400 <= status < 500 and status not in (404, 429):
        return Unreachable(
            service,
            operation,
            f"a web page came back instead of the API's response: {masked(_title_of(content), *secrets)}",
            status=status,
            advice="A proxy or firewall in between responded. Ask its operators to let "
            f"{'AEP_IMS_URL' if service == 'IMS' else 'AEP_PLATFORM_URL'} through, or check the URL.",
        )
    body = _object_in(content)
    code = _code_in(body)
    reason = next(_sentences_in(body), "") or _plain_text(content) or f"it responded with HTTP {status}"
    reason = masked(" ".join(reason.split()), *secrets)
    if len(reason) > _LONGEST_REASON:
        reason = reason[:_LONGEST_REASON].rstrip() + " ..."
    return _class_of_error(service, status, code, body)(
        service,
        operation,
        reason,
        status=status,
        code=masked(code, *secrets) if code else None,
        request_id=_request_id_in(body, reply.headers),
        advice=_advice(service, status, code, body),
    )


def _is_web_page(content: bytes) -> bool:
    return (
        content[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<head"))
    )


def _title_of(content: bytes) -> str:
    """Return the title of a web page, or the beginning of its text."""
    text = content[:4000].decode("utf-8", "replace")
    found = re.search(r"(?is)<title[^>]*>(.*?)</title>", text)
    words = " ".join(re.sub(r"<[^>]*>", " ", found[1] if found else text).split())
    return f"{words[:_LONGEST_TITLE].rstrip()!r}"


def _object_in(content: bytes) -> Mapping[str, Any]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(body, list) and body:
        body = body[0]
    return body if isinstance(body, Mapping) else {}


def _plain_text(content: bytes) -> str:
    text = content[:4000].decode("utf-8", "replace").strip()
    if text.startswith(("{", "[")):
        return ""
    return re.sub(r"<[^>]*>", " ", text)


def _sentences_in(body: Mapping[str, Any]) -> Iterator[str]:
    report = body.get("report")
    report = report if isinstance(report, Mapping) else {}
    candidates = (
        body.get("errorDetails"),
        body.get("errorMessage"),
        report.get("detailed-message"),
        body.get("detail"),
        report.get("message"),
        body.get("message"),
        body.get("error_description"),
        body.get("description"),
        body.get("title"),
        body.get("error"),
    )
    return (text for text in candidates if isinstance(text, str) and text.strip())


def _code_in(body: Mapping[str, Any]) -> str | None:
    if body.get("error_code"):
        return str(body["error_code"])
    found = _CODE_IN_TYPE.search(str(body.get("type") or ""))
    if found:
        return found[1]
    report = body.get("report")
    if isinstance(report, Mapping) and report.get("code"):
        return str(report["code"])
    if "error_description" in body and isinstance(body.get("error"), str):
        return str(body["error"])
    chain = body.get("error-chain")
    if isinstance(chain, list) and chain and isinstance(chain[0], Mapping) and chain[0].get("errorCode"):
        return str(chain[0]["errorCode"])
    return None


def _request_id_in(body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    report = body.get("report")
    if isinstance(report, Mapping):
        for key in ("request-id", "registryRequestId"):
            if report.get(key):
                return str(report[key])
    return next((headers[name] for name in _REQUEST_ID_HEADERS if headers.get(name)), None)


def _class_of_error(
    service: str, status: int, code: str | None, body: Mapping[str, Any]
) -> type[PlatformError]:
    if status == 401 or code in _CODES_OF_CREDENTIAL or (service == "IMS" and status in (400, 403)):
        return AuthenticationFailed
    if status in (409, 412) or code in _CODES_OF_CONFLICT:
        return Conflict
    if status == 403:
        return PermissionMissing
    if status == 404:  # a missing sandbox is not a missing object, which would mean "already deleted"
        return PlatformError if _is_about_the_sandbox(body) else NotFound
    if status == 429:
        return RateLimited
    return Unavailable if status >= 500 else PlatformError


def _is_about_the_sandbox(body: Mapping[str, Any]) -> bool:
    return str(body.get("title") or "").lower().startswith("sandbox")


def _advice(service: str, status: int, code: str | None, body: Mapping[str, Any]) -> str:
    if code in ADVICE:
        return ADVICE[code]
    if _is_about_the_sandbox(body):
        return _SANDBOX
    if status == 401:
        return _RENEW
    if status == 403:
        needed = _PERMISSIONS.get(service)
        if needed:
            return f"Give the credential's role these permissions in Adobe's Permissions screen: {needed}."
        return "Give the credential's role the missing permission in Adobe's Permissions screen."
    if status == 429:
        return "Wait a minute, then try again."
    if status >= 500:
        return "Try again in a few minutes; status.adobe.com lists outages."
    return ""
