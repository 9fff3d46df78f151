"""Every documented refusal becomes the right error with the right advice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chatlio_kit.aep import Reply
from chatlio_kit.aep.errors import error_of
from chatlio_kit.aep.masking import masked
from chatlio_kit.errors import (
    AuthenticationFailed,
    Conflict,
    NotFound,
    PermissionMissing,
    PlatformError,
    RateLimited,
    Unavailable,
)

FLOW_FORBIDDEN = {
    "type": "https://ns.adobe.com/aep/errors/FLOW-2118-403",
    "title": "Missing permission",
    "status": 403,
    "report": {"detailed-message": "The permission manage-sources is missing.", "request-id": "req-7"},
    "errorMessage": "The permission manage-sources is missing.",
    "errorDetails": "The permission manage-sources is missing.",
}
REGISTRY_TITLE = {
    "type": "http://ns.adobe.com/aep/errors/XDM-1521-400",
    "title": "Title not unique",
    "status": 400,
    "report": {"registryRequestId": "reg-1", "detailed-message": "Titles must be unique."},
    "detail": "Titles must be unique.",
}

CASES: list[tuple[str, int, Any, type[PlatformError], str | None, str]] = [
    (
        "Catalog",
        401,
        {"error_code": "401013", "message": "Oauth token is not valid"},
        AuthenticationFailed,
        "401013",
        "renew",
    ),
    (
        "Catalog",
        403,
        {"error_code": "403010", "message": "Oauth token is missing."},
        AuthenticationFailed,
        "403010",
        "AEP_CLIENT_SECRET",
    ),
    (
        "Catalog",
        403,
        {"error_code": "403003", "message": "Api Key is invalid"},
        AuthenticationFailed,
        "403003",
        "AEP_CLIENT_ID",
    ),
    (
        "Catalog",
        400,
        {"error_code": "400003", "message": "Missing header"},
        PlatformError,
        "400003",
        "AEP_ORG_ID",
    ),
    (
        "Catalog",
        403,
        {"error_code": "403025", "message": "Profile is not valid"},
        PermissionMissing,
        "403025",
        "product profile",
    ),
    (
        "Catalog",
        403,
        {"error_code": "403027", "message": "User region is missing"},
        PermissionMissing,
        "403027",
        "product profile",
    ),
    (
        "Catalog",
        429,
        {"error_code": "429050", "message": "Too many requests"},
        RateLimited,
        "429050",
        "Wait",
    ),
    ("Catalog", 429, {"title": "Too many requests"}, RateLimited, None, "Wait a minute"),
    ("Flow Service", 403, FLOW_FORBIDDEN, PermissionMissing, "FLOW-2118-403", "Manage Sources"),
    (
        "Flow Service",
        403,
        {**FLOW_FORBIDDEN, "type": "https://ns.adobe.com/aep/errors/FLOW-2120-403"},
        PermissionMissing,
        "FLOW-2120-403",
        "Manage Sources",
    ),
    ("Flow Service", 412, {"errorMessage": 'Version \\"a\\" not matching'}, Conflict, None, ""),
    (
        "Flow Service",
        404,
        {"type": "https://ns.adobe.com/aep/errors/FLOW-1439-404", "title": "Resource not found"},
        NotFound,
        "FLOW-1439-404",
        "",
    ),
    (
        "Flow Service",
        404,
        {"type": "https://ns.adobe.com/aep/errors/FLOW-2100-404", "title": "Sandbox not found"},
        PlatformError,
        "FLOW-2100-404",
        "AEP_SANDBOX",
    ),
    ("Schema Registry", 400, REGISTRY_TITLE, Conflict, "XDM-1521-400", "choose another name"),
    (
        "Schema Registry",
        404,
        {"type": "/placeholder/type/uri", "status": 404, "title": "NotFoundError", "detail": "gone"},
        NotFound,
        None,
        "",
    ),
    (
        "Identity",
        409,
        {"title": "NAMESPACE_CODE_CONFLICT", "report": {"code": "INTEGRATION_CODE_EXISTS"}},
        Conflict,
        "INTEGRATION_CODE_EXISTS",
        "",
    ),
    (
        "Streaming ingestion",
        401,
        {"status": "401", "title": "Authorization", "report": {"message": "Ims service token is empty"}},
        AuthenticationFailed,
        None,
        "renew",
    ),
    ("Catalog", 403, {"status": 403, "title": "Forbidden"}, PermissionMissing, None, "Manage Datasets"),
    ("Data Prep", 503, b"<html><body>Service <b>down</b></body></html>", Unavailable, None, "status.adobe"),
    (
        "IMS",
        400,
        {"error": "invalid_client", "error_description": "invalid client_secret parameter"},
        AuthenticationFailed,
        "invalid_client",
        "AEP_CLIENT_SECRET",
    ),
    (
        "IMS",
        400,
        {"error": "invalid_scope", "error_description": "no such scope"},
        AuthenticationFailed,
        "invalid_scope",
        "AEP_SCOPES",
    ),
    ("Catalog", 302, b"", PlatformError, None, ""),
    (
        "Catalog",
        409,
        {"error-chain": [{"errorCode": "CAT-1", "errorMessage": "taken"}], "detail": "taken"},
        Conflict,
        "CAT-1",
        "",
    ),
]


@pytest.mark.parametrize(("service", "status", "body", "kind", "code", "advice"), CASES)
def test_envelope_becomes_its_error(
    service: str, status: int, body: Any, kind: type[PlatformError], code: str | None, advice: str
) -> None:
    """Each envelope gives the right error class, its code and the next step."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = error_of(service, "do the thing", Reply(status, content, {}))
    assert type(error) is kind
    assert error.code == code
    assert error.status == status
    assert advice in error.advice
    assert str(error).startswith(f"{service} could not do the thing: ")


def test_request_id_and_sentence_come_from_the_report() -> None:
    """Flow Service's message and request id are in the error's text."""
    error = error_of(
        "Flow Service", "create the dataflow", Reply(403, json.dumps(FLOW_FORBIDDEN).encode(), {})
    )
    assert error.request_id == "req-7"
    assert "The permission manage-sources is missing (HTTP 403, FLOW-2118-403, request req-7)" in str(error)


def test_the_request_id_of_a_header_is_kept() -> None:
    """A request id that only a header holds is kept."""
    error = error_of("Catalog", "read the dataset", Reply(500, b"oops", {"x-request-id": "h-1"}))
    assert error.request_id == "h-1"
    assert error.reason == "oops"


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"[1]", b'"text"', b"\xff\xfe", b'{"report": 7}', b'{"title": {}}', b"{"]
)
def test_any_body_gives_a_sentence(content: bytes) -> None:
    """A refusal without an envelope still becomes an error with a reason."""
    error = error_of("Catalog", "read the dataset", Reply(500, content, {}))
    assert isinstance(error, Unavailable)
    assert error.reason


def test_long_pages_are_truncated() -> None:
    """A page of text is truncated to a sentence's length."""
    assert len(error_of("Catalog", "read the dataset", Reply(500, b"x " * 5000, {})).reason) < 500
    page = b"<html><title>" + b"Gateway" * 20 + b"</title></html>"
    reason = error_of("Catalog", "read the dataset", Reply(403, page, {})).reason
    assert "Gateway" in reason
    assert "Gateway" * 12 not in reason


@pytest.mark.parametrize(
    "text",
    [
        "https://dcs.adobedc.net/collection/0123abcd?x-adobe-flow-id=f",
        "POST /collection/batch/0123abcd HTTP/1.1",
        "%2Fcollection%2F0123abcd",
        "inletId: [0123abcd] imsOrgId: [X@AdobeOrg] Message is invalid",
        '{"inletId": "0123abcd"}',
        "Authorization: Bearer 0123abcd",
        "token eyJ0123abcd.eyJ0123abcd.0123abcd is bad",
        "client_secret=0123abcd&x=1",
        '"access_token": "0123abcd"',
        "the value s3cret was sent",
    ],
)
def test_masking_leaves_nothing_secret(text: str) -> None:
    """Inlet ids, tokens and given secrets are removed from any string."""
    shown = masked(text, "s3cret")
    assert "***" in shown
    assert "0123abcd" not in shown
    assert "s3cret" not in shown


def test_refusals_are_masked() -> None:
    """A secret in the platform's own message does not reach the error."""
    body = {"detail": "no access to https://dcs.adobedc.net/collection/feedbeef with s3cret"}
    error = error_of("Catalog", "read", Reply(400, json.dumps(body).encode(), {}), secrets=("s3cret",))
    assert "feedbeef" not in str(error)
    assert "s3cret" not in str(error)
