"""Connections with identities and for Profile: creation, refusals, and idempotence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
import requests
from click.testing import CliRunner

import chatlio_kit as ck
from chatlio_kit.aep import Platform
from chatlio_kit.aep import http as wire
from chatlio_kit.chatlio.identities import ConversationVisitors, identity_columns
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.cli import main
from chatlio_kit.connection import Connection, labels
from chatlio_kit.connection.connection import GUARD_AFTER_PROFILE
from chatlio_kit.connection.expiry import profile_expiry
from chatlio_kit.connection.labels import labelled_fields, write_labels
from chatlio_kit.connection.resources.blueprint import Blueprint
from chatlio_kit.connection.resources.names import ResourceNames, Role
from chatlio_kit.connection.resources.people import People
from chatlio_kit.delivery.requests.wire import wire_records
from chatlio_kit.errors import ConnectionIncomplete, ProductionSandbox, UsageError
from chatlio_kit.local_platform.data_prep import functions
from chatlio_kit.local_platform.registry import descriptors
from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Tables

OpenPlatform = Callable[..., Any]
Json = dict[str, Any]
VISITOR = "visitor_id=ChatlioVisitor"
PEOPLE = [VISITOR, "visitor_email=Email"]


@pytest.fixture(scope="module")
def audit(sample_tables: Tables) -> Any:
    """An audit that is not red."""
    return ck.audit_identities(sample_tables, PEOPLE)


def connect_profile(platform: Platform, audit: Any, **options: Any) -> Connection:
    """Make a connection for Profile, without webhooks."""
    plan = ck.plan_connection(platform, "people", [], identities=PEOPLE, profile=True, **options)
    return plan.apply(audit=audit, confirm="people")


def census(platform: Platform) -> dict[str, int]:
    """Return the number of objects of each type."""
    own = [namespace for namespace in platform.namespaces.all() if namespace["custom"]]
    schemas = list(platform.schemas.titles("schemas"))
    tagged = [platform.schemas.get("schemas", each["$id"]).get("meta:immutableTags") for each in schemas]
    return {
        "namespaces": len(own),
        "field groups": len(list(platform.schemas.titles("fieldgroups"))),
        "schemas": len(schemas),
        "in the union": tagged.count(["union"]),
        "descriptors": len(platform.schemas.descriptors("xdm:descriptorIdentity")),
        "datasets": len(platform.catalog.datasets("people chatlio dataset")),
        "mapping sets": len(list(platform.mapping_sets.find())),
        "sources": len(list(platform.flows.endpoints("source"))),
        "targets": len(list(platform.flows.endpoints("target"))),
        "dataflows": len(list(platform.flows.flows())),
    }


def test_without_the_flags_no_request_speaks_of_people(
    open_settings: OpenPlatform, sent: list[requests.PreparedRequest], sample_tables: Tables
) -> None:
    """Neither a call to Identity Service or Data Hygiene, nor a descriptor, a union, a tag or an identity."""
    with open_settings() as platform:
        connection = ck.plan_connection(platform).apply()
        page = ck.stream(sample_tables, connection, skip_guard=True, quiet=True).reconcile(wait=20)
    assert page.run.landed == len(sample_tables.events)
    assert page.people == {}
    assert "people" not in page.as_dict()
    for request in sent:
        body = request.body if isinstance(request.body, bytes) else (request.body or "").encode()
        assert b"identityMap" not in body
        assert b"unifiedProfile" not in body
        assert not any(part in unquote(str(request.url)) for part in ("/core/", "descriptors", "/ttl/"))


def test_identities_in_the_lake_make_namespace_and_descriptors(open_settings: OpenPlatform) -> None:
    """The schema lists its identities; the descriptors are not primary; nothing feeds Profile."""
    with open_settings() as platform:
        plan = ck.plan_connection(platform, "people", identities=[*PEOPLE, "traits.ecid=ECID"])
        connection = plan.apply()
        (namespace,) = [each for each in platform.namespaces.all() if each["custom"]]
        assert (namespace["code"], namespace["idType"]) == ("ChatlioVisitor", "Cookie")
        described = platform.schemas.descriptors("xdm:descriptorIdentity")
        assert {(each["xdm:sourceProperty"], each["xdm:namespace"]) for each in described} == {
            ("/_acmechat/chatlio/visitor_id", "ChatlioVisitor"),
            ("/_acmechat/chatlio/visitor_email", "Email"),
        }
        assert not any(each["xdm:isPrimary"] for each in described)
        schema = platform.schemas.get("schemas", connection.schema_id)
        assert "visitor_id=ChatlioVisitor" in schema["description"]
        assert "meta:immutableTags" not in schema
        assert "unifiedProfile" not in platform.catalog.dataset(connection.dataset_id)["tags"]
        assert connection.live_without_identity == (Kind.TRANSCRIPT,)
        again = ck.plan_connection(platform, "people")
        assert again.changes == 0
        assert again.people == connection.people == ck.open_connection(platform, "people").people


@pytest.mark.parametrize(
    ("number", "conflicts"), [("7", []), ("4", ["identity descriptor"])], ids=["its own", "another"]
)
def test_a_namespace_may_be_written_as_its_number(
    open_settings: OpenPlatform, number: str, conflicts: list[str]
) -> None:
    """A descriptor that names the namespace by number is the same one; another's number is a conflict."""
    identities = ["user_id=Phone"]
    with open_settings() as platform:
        ck.plan_connection(platform, "people", [], identities=identities).apply()
        (made,) = platform.schemas.descriptors("xdm:descriptorIdentity")
        platform.schemas.delete_descriptor(made.pop("@id"))
        platform.schemas.create_descriptor({**made, "xdm:namespace": number, "xdm:property": "xdm:id"})
        plan = ck.plan_connection(platform, "people", [], identities=identities)
        assert [conflict.object for conflict in plan.conflicts] == conflicts
        assert plan.changes == 0


def test_identities_can_be_added_to_a_connection_and_not_changed(open_settings: OpenPlatform) -> None:
    """A connection in the lake gains them; other ones, and Profile, need another name."""
    with open_settings() as platform:
        ck.plan_connection(platform, "people", ["feedback"]).apply()
        plan = ck.plan_connection(platform, "people", ["feedback"], identities=PEOPLE)
        assert plan.apply().people.identities
        assert ck.plan_connection(platform, "people", ["feedback"], identities=PEOPLE).changes == 0
        for options in ({"identities": [VISITOR]}, {"identities": PEOPLE, "profile": True}):
            other = ck.plan_connection(platform, "people", ["feedback"], **options)
            assert other.conflicts[0].object == "schema"
            with pytest.raises(ConnectionIncomplete, match="another name"):
                other.apply()


def test_a_namespace_that_joins_no_people_is_a_conflict(open_settings: OpenPlatform) -> None:
    """A namespace without people, or one whose code differs only in case, is not used."""
    with open_settings() as platform:
        body = {"name": "Plants", "code": "Plants", "idType": "Non_people"}
        platform.namespaces.create(body)
        for code, words in (("Plants", "no people"), ("email", "case-sensitive")):
            (conflict,) = ck.plan_connection(platform, "p", [], identities=[f"user_id={code}"]).conflicts
            assert words in conflict.reason


def test_profile_needs_an_audit_a_confirmation_and_a_development_sandbox(
    open_settings: OpenPlatform, audit: Any, sample_tables: Tables
) -> None:
    """Without any of them nothing is made at all."""
    events = sample_tables.events.copy()
    events["visitor_email"] = pd.Series("one@x.org", index=events.index, dtype="str")
    red = ck.audit_identities(events, PEOPLE)
    with open_settings() as platform:
        plan = ck.plan_connection(platform, "people", [], identities=PEOPLE, profile=True)
        assert plan.enables_profile
        assert "never be undone" in repr(plan)
        before = census(platform)
        for options in (
            {"confirm": "people"},
            {"audit": audit},
            {"audit": audit, "confirm": "chatlio"},
            {"audit": red, "confirm": "people"},
            {"audit": ck.audit_identities(sample_tables), "confirm": "people"},
        ):
            with pytest.raises(UsageError):
                plan.apply(**options)
        assert census(platform) == before
        assert plan.apply(audit=red, confirm="people", despite_audit=True).people.profile
    with open_settings("production", sandbox_type="production") as platform:
        plan = ck.plan_connection(platform, "people", [], identities=PEOPLE, profile=True)
        with pytest.raises(ProductionSandbox):
            plan.apply(audit=audit, confirm="people")
        assert census(platform) == before
    with pytest.raises(UsageError, match="without an identity"):
        ck.plan_connection(platform, "people", profile=True)


def test_a_connection_for_profile_is_made_once(open_settings: OpenPlatform, audit: Any) -> None:
    """Union, dataset with both tags, no descriptor; the second time nothing changes and nothing is asked."""
    with open_settings(profile_days=30) as platform:
        connection = connect_profile(platform, audit)
        connection.history_flow(Kind.TRANSCRIPT)
        tags = platform.catalog.dataset(connection.dataset_id)["tags"]
        assert tags["unifiedProfile"] == tags["unifiedIdentity"] == ["enabled:true"]
        before = census(platform)
        assert (before["in the union"], before["descriptors"], before["namespaces"]) == (1, 0, 1)
        plan = ck.plan_connection(platform, "people", [], identities=PEOPLE, profile=True)
        assert (plan.changes, plan.enables_profile) == (0, False)
        again = plan.apply()
        assert again.people == connection.people
        assert census(platform) == before
        flow = connection.history[Kind.TRANSCRIPT]
        assert connection.guard_until(flow) - flow.changed > GUARD_AFTER_PROFILE * 0.9
        change = {"op": "replace", "path": "/description", "value": "Ours. chatlio-kit:people"}
        expiry = profile_expiry(connection)
        assert expiry is not None
        assert expiry.text == "P30D"
        share = audit.share_older_than(expiry.span, platform.now())
        assert f"older than 30 days: {share:.0%}" in expiry.sentence(share)
        assert share > 0.5
        platform.schemas.patch("schemas", connection.schema_id, [change])  # edited by someone else
        assert "no longer says" in ck.plan_connection(platform, "people", []).conflicts[0].reason


UNCHANGING = ("/ims/token/v3", "/mappingSets/preview", "/acl/effective-policies")


class Killed(BaseException):
    """The process is gone; no handler of ours sees this."""


@contextmanager
def killed_after(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """End the process after the N-th request that changes the platform; others leave it as it was."""
    asked: list[str] = []
    send = wire.send_once

    def counted(session: Any, method: str, url: str, **parts: Any) -> Any:
        reply = send(session, method, url, **parts)
        changes = method != "GET" and not urlsplit(url).path.endswith(UNCHANGING)
        if changes:
            asked.append(f"{method} {url}")
        if changes and len(asked) == number:
            raise Killed
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(wire, "send_once", counted)
        yield asked


def test_a_connect_for_profile_killed_after_any_change_is_finished_by_the_next(
    open_settings: OpenPlatform,
    use_settings: Callable[[Platform], None],
    sample: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After each request that changes anything, the next run leaves one of each, live dataflows included."""
    identities = [part for identity in PEOPLE for part in ("--identity", identity)]
    command = ["connect", str(sample), "--name", "people", *identities, "--profile", "--webhook", "feedback"]
    command += ["--webhook", "transcript", "--platform", "aep", "--state", str(tmp_path / "state")]
    whole = dict.fromkeys(("namespaces", "field groups", "schemas", "in the union", "datasets"), 1)
    whole |= {"descriptors": 0} | dict.fromkeys(("mapping sets", "sources", "targets", "dataflows"), 2)
    number, was_killed = 0, True
    while was_killed:
        number += 1
        with open_settings(f"store {number}") as platform:
            use_settings(platform)
            with killed_after(number, monkeypatch) as asked:
                try:
                    CliRunner().invoke(main, command, input="people\n")
                except Killed:
                    pass
                else:
                    was_killed = False
            finished = CliRunner().invoke(main, command, input="people\n")
            assert finished.exit_code == 0, finished.stderr
            assert census(platform) == whole, f"killed after request {number}: {asked[-1]}"
            again = ck.plan_connection(platform, "people", ["feedback", "transcript"])
            assert (again.changes, [str(identity) for identity in again.people.identities]) == (0, PEOPLE)
    assert number > len(whole)


def test_every_request_for_profile_is_as_documented(
    open_settings: OpenPlatform, audit: Any, sent: list[requests.PreparedRequest]
) -> None:
    """Methods, paths and bodies of what Profile adds, in the order of Adobe's own labs."""
    with open_settings() as platform:
        connect_profile(platform, audit)
        ck.plan_connection(platform, "lake", [], identities=[VISITOR]).apply()
    made = [
        (str(request.method), urlsplit(unquote(str(request.url))).path, json.loads(request.body or b"null"))
        for request in sent
        if request.method != "GET" and "/ims/" not in str(request.url)
    ]
    previews = [body for _, path, body in made if path.endswith("/mappingSets/preview")]
    assert len(previews) == 5  # one for each kind, before the union
    asked = [one for one in made if not one[1].endswith("/mappingSets/preview")]
    registry, catalog = "/data/foundation/schemaregistry/tenant", "/data/foundation/catalog"
    paths = [(method, path.rpartition("/schemas/https")[0] or path) for method, path, _ in asked]
    assert paths == [
        ("POST", f"{registry}/fieldgroups"),
        ("POST", f"{registry}/schemas"),
        ("POST", "/data/core/idnamespace/identities"),
        ("PATCH", registry),
        ("POST", f"{catalog}/dataSets"),
        ("POST", f"{registry}/fieldgroups"),
        ("POST", f"{registry}/schemas"),
        ("POST", f"{registry}/descriptors"),
        ("POST", f"{catalog}/dataSets"),
    ]
    assert made.index(asked[3]) > max(made.index(one) for one in made if one[1].endswith("preview"))
    assert asked[2][2] == {
        "name": "Chatlio visitor",
        "code": "ChatlioVisitor",
        "idType": "Cookie",
        "description": "Ids of Chatlio's visitor_id. chatlio-kit:people",
    }
    assert asked[3][2] == [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
    assert asked[4][2]["tags"] == {"unifiedProfile": ["enabled:true"], "unifiedIdentity": ["enabled:true"]}
    descriptor = asked[7][2]
    assert descriptor.pop("xdm:sourceSchema").startswith("https://ns.adobe.com/acmechat/schemas/")
    assert descriptor == {
        "@type": "xdm:descriptorIdentity",
        "xdm:sourceVersion": 1,
        "xdm:sourceProperty": "/_acmechat/chatlio/visitor_id",
        "xdm:namespace": "ChatlioVisitor",
        "xdm:property": "xdm:code",
        "xdm:isPrimary": False,
    }


def test_without_a_map_from_the_mapper_live_events_have_no_identity(
    open_settings: OpenPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan continues without it, says so, changes nothing the second time, and repairs it later."""
    said: list[str] = []
    options = {"identities": [VISITOR]}
    with open_settings() as platform:
        with monkeypatch.context() as patch:
            patch.delitem(functions.FUNCTIONS, "to_map")
            plan = ck.plan_connection(platform, "people", ["feedback"], **options)
            connection = plan.apply(progress=said.append)
            assert connection.live_without_identity == (Kind.FEEDBACK,)
            assert any("carry no identity" in sentence for sentence in said)
            assert "carry no identity" in repr(connection)
            assert ck.plan_connection(platform, "people", ["feedback"], **options).changes == 0
            assert ck.open_connection(platform, "people").live_without_identity == (Kind.FEEDBACK,)
        healed = ck.plan_connection(platform, "people", ["feedback"], **options)
        assert healed.changes == 2  # mapping set and dataflow
        assert healed.apply().live_without_identity == ()


def test_a_history_mapping_that_loses_identities_stops_before_the_union(
    open_settings: OpenPlatform, audit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the preview differs, no irreversible step is taken."""
    mapped = Blueprint.mapping_set

    def without(self: Blueprint, *arguments: Any) -> Json:
        body = mapped(self, *arguments)
        kept = [each for each in body["mappings"] if each["destination"] != "identityMap"]
        return {**body, "mappings": kept}

    monkeypatch.setattr(Blueprint, "mapping_set", without)
    with open_settings() as platform:
        with pytest.raises(ConnectionIncomplete, match="identityMap"):
            connect_profile(platform, audit)
        assert census(platform)["in the union"] == census(platform)["datasets"] == 0


def test_labels_are_written_where_the_registry_takes_them(
    open_settings: OpenPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, and none of C12; a registry that refuses is reported, and the connection stays."""
    with open_settings() as platform:
        connection = ck.plan_connection(platform, "people", []).apply()
        paths = {str(one.xdm).replace(".", "/"): label for one, label in labelled_fields()}
        expected = {(f"/_acmechat/{path}", label) for path, label in paths.items()}
        assert f"{len(expected)} fields have their labels" in write_labels(connection)
        assert "; 0 of them were written now" in write_labels(connection)
        found = platform.schemas.descriptors(labels.LABEL_DESCRIPTOR)
        assert {(each["xdm:sourceProperty"], *each["xdm:label"]) for each in found} == expected
        assert {"I1", "I2", "S2"} == {label for _, label in expected}
        monkeypatch.setattr(descriptors, "_LABELS", frozenset())
        other = ck.plan_connection(platform, "other", []).apply()
        assert "does not accept labels" in write_labels(other)
        guide = repr(ck.plan_connection(platform, "people", []).by_hand())
    assert "_acmechat.chatlio.visitor_email" in guide
    assert "_acmechat.chatlio.chat_messages[].username" in guide


@pytest.mark.parametrize("identities", [[], [*PEOPLE, "user_id=CustomerId"]], ids=["without", "with"])
def test_the_preview_of_a_thousand_events_equals_python(
    open_settings: OpenPlatform, tmp_path: Path, identities: list[str]
) -> None:
    """For every kind, sparse and dense: the platform maps each wire record as Python expects."""
    export = write_sample(tmp_path / "cap", events=2600, seed=21)
    tables = ck.read_export(export.path).to_tables(quiet=True)
    people = People.of(identities, profile=False, slim=False)
    visitors = ConversationVisitors()
    visitors.add(tables.events)
    counts: dict[Kind, int] = {}
    named = 0
    with open_settings() as platform:
        connection = ck.plan_connection(platform, "people", [], identities=identities).apply()
        design = Blueprint(ResourceNames("people"), connection.tenant_id, people)
        for kind in Kind:
            events = tables.events[tables.events["kind"] == kind]
            events = pd.concat([events] * (1000 // len(events) + 1))[:1000].reset_index(drop=True)
            columns = identity_columns(events, people.identities, visitors.of(events)) if identities else []
            records = [json.loads(one.body) for one in wire_records(events, tables.messages, columns)]
            records += [{key: one[key] for key in ("event_id", "occurred_at", "kind")} for one in records[:5]]
            body = design.mapping_set(Role.HISTORY, kind, connection.schema_id)
            mapped = platform.mapping_sets.preview(records, body)
            for record, result in zip(records, mapped, strict=True):
                assert _timed(result["data"]) == _timed(_expected(record, kind, connection.tenant_id))
                assert not result["errors"]
            named += sum("identityMap" in record for record in records)
            counts[kind] = len(records)
    assert set(counts.values()) == {1005}
    assert (named > 4000) == bool(identities)


def _timed(row: Json) -> Json:
    """A row whose times end in Z when their milliseconds are zero, as the mapper may write them."""
    timed: Json = json.loads(re.sub(r"(:\d\d)\.000Z", r"\1Z", json.dumps(row)))
    return timed


def _expected(record: Json, kind: Kind, tenant_id: str) -> Json:
    own = dict(record)
    row = {"_id": own.pop("event_id"), "timestamp": own.pop("occurred_at"), "eventType": f"chatlio.{kind}"}
    own.pop("kind")
    people = own.pop("identityMap", None)
    if people is not None:
        row["identityMap"] = people
    return {**row, f"_{tenant_id}": {"chatlio": own}} if own else row
