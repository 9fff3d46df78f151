"""Access tokens and the gateway's headers."""

from __future__ import annotations

import pytest
import requests

from chatlio_kit.local_platform import running


def test_a_token_is_a_bearer_token_whose_lifetime_is_in_seconds(api):
    """The v3 token call answers three members and counts the lifetime in seconds, as in the IMS guide."""
    answered = api.token()
    assert set(answered) == {"access_token", "token_type", "expires_in"}
    assert (answered["token_type"], answered["expires_in"]) == ("bearer", 86_399)


def test_parameters_may_come_in_the_query(api):
    """The IMS guide allows the parameters in the query string."""
    account = api.platform.account
    query = {
        "grant_type": "client_credentials",
        "client_id": account.client_id,
        "client_secret": account.client_secret,
        "scope": "openid,AdobeID",
    }
    response = requests.post(f"{api.platform.url}/ims/token/v3", params=query, timeout=10)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("changed", "error", "description"),
    [
        ({"client_secret": "no"}, "invalid_client", "invalid client_secret parameter"),
        ({"client_id": "no"}, "invalid_client", "invalid client_id parameter"),
        ({"scope": "openid AdobeID"}, "invalid_scope", None),
        ({"grant_type": ""}, "invalid_request", None),
        ({"grant_type": "password"}, "unsupported_grant_type", None),
    ],
)
def test_a_wrong_token_request_gets_a_description(api, changed, error, description):
    """Errors have ``error`` and ``error_description``; scopes are separated by commas, never blanks."""
    answered = api.token(**changed)
    assert set(answered) == {"error", "error_description"}
    assert answered["error"] == error
    assert description in (None, answered["error_description"])


@pytest.mark.parametrize(
    ("header", "value", "status", "code", "message"),
    [
        ("Authorization", None, 403, "403010", "Oauth token is missing."),
        ("Authorization", "Bearer no", 401, "401013", "Oauth token is not valid"),
        ("x-api-key", None, 403, "403000", "Api Key is required"),
        ("x-api-key", "no", 403, "403003", "Api Key is invalid"),
        ("x-gw-ims-org-id", None, 400, "400003", "Missing header"),
        ("x-gw-ims-org-id", "no", 403, "403027", "User region is missing"),
        ("x-gw-ims-org-id", "0" * 24 + "@AdobeOrg", 403, "403025", "Profile is not valid"),
    ],
)
def test_the_gateway_answers_as_the_troubleshooting_guide_says(api, header, value, status, code, message):
    """Each missing or wrong header has its own error code, whose first three digits are the status."""
    response = api.get(f"{api.registry}/stats", headers={header: value})
    assert response.status_code == status
    assert response.json() == {"error_code": code, "message": message}


def test_a_token_ends(tmp_path, connect):
    """A token older than its lifetime is refused as invalid."""
    with running(tmp_path / "store", token_lifetime=0) as platform:
        api = connect(platform)
        assert api.get(f"{api.registry}/stats").json()["error_code"] == "401013"


def test_a_token_outlives_a_restart(tmp_path, connect):
    """Tokens are in the store, as everything is."""
    with running(tmp_path / "store") as platform:
        token = connect(platform).session.headers["Authorization"]
    with running(tmp_path / "store") as platform:
        api = connect(platform)
        response = api.get(f"{api.registry}/stats", headers={"Authorization": token})
    assert response.status_code == 200


def test_the_sandbox_header_is_required_and_must_name_a_sandbox(api):
    """Flow Service answers a missing sandbox with 2105-400 and an unknown one with 2100-404."""
    url = f"{api.flow_service}/flows"
    missing = api.get(url, headers={"x-sandbox-name": None})
    unknown = api.get(url, headers={"x-sandbox-name": "nowhere"})
    not_allowed = api.get(url, headers={"x-sandbox-id": "1"})
    assert missing.json()["type"] == "https://ns.adobe.com/aep/errors/FLOW-2105-400"
    assert (unknown.status_code, unknown.json()["status"]) == (404, 404)
    assert not_allowed.json()["type"].endswith("FLOW-2110-400")


def test_a_body_needs_its_content_type(api):
    """A body of another media type gets the documented problem document."""
    response = api.call(
        "POST", f"{api.flow_service}/flows", data="{}", headers={"Content-Type": "text/plain"}
    )
    assert response.status_code == 400
    assert response.json()["detail"] == "A valid content-type must be specified"


def test_a_missing_permission_is_left_out_and_its_calls_are_refused(tmp_path, connect):
    """Effective policies leave out what is withheld; Flow Service names the permission in 2118-403."""
    withheld = frozenset({"manage-sources", "view-sources"})
    with running(tmp_path / "store", withheld=withheld) as platform:
        api = connect(platform)
        asked = ["/permissions/manage-sources", "/permissions/manage-schemas", "/resource-types/schemas"]
        response = api.post(f"{api.access_control}/acl/effective-policies", asked)
        refused = api.get(f"{api.flow_service}/flows")
        reference = api.get(f"{api.access_control}/acl/reference").json()
    assert response.json() == {
        "policies": {
            "/permissions/manage-schemas": ["*"],
            "/resource-types/schemas": ["read", "write", "delete"],
        }
    }
    assert refused.status_code == 403
    assert refused.json()["type"].endswith("FLOW-2118-403")
    assert "manage-sources" in reference["permissions"]


def test_a_failure_of_the_server_itself_is_logged_without_the_inlet(api, caplog, monkeypatch):
    """An answer 500 leaves a traceback in the log that names the call, and not the inlet in its path."""
    flow = api.new_flow()

    def fail(*_):
        raise RuntimeError("on purpose")

    monkeypatch.setattr("chatlio_kit.local_platform.ingestion.routes.flow_of_inlet", fail)
    assert api.send(flow, [{}]).status_code == 500
    logged = "\n".join(record.getMessage() for record in caplog.records if "failed" in record.getMessage())
    assert "POST /collection/batch/{" in logged
    assert flow["options"]["inletUrl"].rpartition("/")[2] not in logged
