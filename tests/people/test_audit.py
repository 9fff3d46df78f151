"""The audit of identities equals an independent computation, and names values that would merge people."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from click.testing import CliRunner

import chatlio_kit as ck
from chatlio_kit.analysis.identity_audit import Light
from chatlio_kit.cli import main
from chatlio_kit.errors import UsageError
from chatlio_kit.tables import Tables

IDENTITIES = ["visitor_id=ChatlioVisitor", "user_id=CustomerId", "visitor_email=Email"]

# The identities of each event, written in SQL: one row for each event and id.
IDS = """
WITH joined AS (
    SELECT conversation_id, min(visitor_id) AS visitor_id FROM events
    WHERE conversation_id IS NOT NULL AND visitor_id IS NOT NULL
    GROUP BY conversation_id HAVING count(DISTINCT visitor_id) = 1
), named AS (
    SELECT event_id, kind, coalesce(events.visitor_id, joined.visitor_id) AS visitor,
        CASE WHEN lower(trim(user_id)) NOT IN ('', 'null', 'anonymous', 'invalid', 'undefined', 'none', 'nan',
            'unknown', 'n/a', 'guest') THEN trim(user_id) END AS customer,
        CASE WHEN visitor_email LIKE '%_@_%._%' THEN lower(trim(visitor_email)) END AS email
    FROM events LEFT JOIN joined USING (conversation_id)
)
SELECT event_id, kind, 'V' || visitor AS id FROM named WHERE visitor IS NOT NULL
UNION ALL SELECT event_id, kind, 'U' || customer FROM named WHERE customer IS NOT NULL
UNION ALL SELECT event_id, kind, 'E' || email FROM named
WHERE email IS NOT NULL AND (visitor IS NOT NULL OR customer IS NOT NULL)
"""
# Each id's component is the least id that it reaches over events.
COMPONENTS = """
WITH RECURSIVE linked AS (SELECT DISTINCT a.id AS one, b.id AS other FROM ids a JOIN ids b USING (event_id)),
reached(id, root) AS (
    SELECT one, other FROM linked UNION SELECT reached.id, linked.other FROM reached JOIN linked ON one = root
)
SELECT id, min(root) AS root FROM reached GROUP BY id
"""


def _computed(events: pd.DataFrame) -> tuple[dict[str, int], Counter[int]]:
    """Events with an identity by kind, and graphs by size, by SQL alone."""
    database = duckdb.connect()
    database.register("events", events)
    database.execute(f"CREATE TABLE ids AS {IDS}")
    kinds = database.execute("SELECT kind, count(DISTINCT event_id) FROM ids GROUP BY kind").fetchall()
    database.execute(f"CREATE TABLE components AS {COMPONENTS}")
    sizes = database.execute("SELECT count(*) FROM components GROUP BY root").fetchall()
    return dict(kinds), Counter(size for (size,) in sizes)


def test_coverage_and_graphs_equal_an_independent_computation(sample_tables: Tables) -> None:
    """A recursive query over the frame counts the same events and the same graphs."""
    audit = ck.audit_identities(sample_tables, IDENTITIES)
    identified, sizes = _computed(sample_tables.events)
    assert audit.identified == identified
    assert audit.graphs.sizes == sizes
    assert audit.graphs.largest == max(sizes)
    assert len(sizes) > 1
    assert audit.light is not Light.RED
    assert sum(audit.events.values()) == len(sample_tables.events)


def test_a_constant_user_id_turns_the_audit_red_and_is_named(sample_tables: Tables) -> None:
    """One value on every visitor is one graph of all; the reason names field and record, not the value."""
    events = sample_tables.events.copy()
    events["user_id"] = pd.Series("website-7", index=events.index, dtype="str")
    audit = ck.audit_identities(events, IDENTITIES)
    assert audit.light is Light.RED
    assert audit.graphs.largest > 50
    first = events.iloc[0]
    culprit = next(reason for reason in audit.reasons if "user_id" in reason)
    assert f"{first['source_file']} record {first['source_record']}" in culprit
    assert f"{events['visitor_id'].nunique()} of" in culprit.replace(",", "")
    assert "website-7" not in repr(audit) + audit._repr_html_() + json.dumps(audit.as_dict())
    assert ck.audit_identities(events, IDENTITIES[:1]).light is not Light.RED  # the field is not chosen


def test_an_agents_address_turns_the_audit_red_and_is_named(sample_tables: Tables) -> None:
    """An agent who tests the chat is found by the address in transcripts, whatever its case."""
    events = sample_tables.events.copy()
    agent = events["agent_email"].dropna().iloc[0]
    planted = events.index[events["visitor_id"].notna()][3]
    events.loc[planted, "visitor_email"] = agent.upper()
    audit = ck.audit_identities(events, IDENTITIES)
    assert audit.light is Light.RED
    (reason,) = [reason for reason in audit.reasons if "agent" in reason]
    row = events.loc[planted]
    assert f"visitor_email ***@{agent.partition('@')[2]}" in reason
    assert f"{row['source_file']} record {row['source_record']}" in reason
    assert agent.lower() not in (repr(audit) + json.dumps(audit.as_dict())).lower()


def test_role_addresses_are_amber_and_missing_coverage_is_red(sample_tables: Tables) -> None:
    """An address such as info@ belongs to no one person; coverage below half is too low."""
    events = sample_tables.events.copy()
    named = events.index[events["visitor_id"].notna()][:1]
    events.loc[named, "visitor_email"] = "info@shop.example"
    audit = ck.audit_identities(events, IDENTITIES)
    assert audit.light is Light.AMBER
    assert any("role address" in reason for reason in audit.reasons)
    few = ck.audit_identities(events, ["user_id=CustomerId"])
    assert few.light is Light.RED
    assert any("get no identity" in reason for reason in few.reasons)


def test_a_picture_describes_its_numbers(sample_tables: Tables) -> None:
    """Coverage and graph sizes are in the description."""
    audit = ck.audit_identities(sample_tables, IDENTITIES)
    words = repr(audit.picture())
    assert f"1: {audit.graphs.sizes[1]}" in words
    assert f"transcript {audit.identified['transcript'] / audit.events['transcript']:.0%}" in words
    assert audit.picture()._repr_html_().startswith("<img alt=")


def test_the_command_reports_the_same(sample: Path, sample_tables: Tables, tmp_path: Path) -> None:
    """It reads captures alone, makes nothing, and ends with 1 when the verdict is red."""
    options = [part for identity in IDENTITIES for part in ("--identity", identity)]
    state = ["--state", str(tmp_path / "state")]
    result = CliRunner().invoke(main, ["identities", str(sample), *options, "--json", *state])
    assert result.exit_code == 0, result.stderr
    audit = ck.audit_identities(sample_tables, IDENTITIES).as_dict()
    answer = json.loads(result.stdout)
    assert {key: answer[key] for key in audit if key != "fields"} == {
        key: audit[key] for key in audit if key != "fields"
    }
    assert not (tmp_path / "state").exists()
    default = CliRunner().invoke(main, ["identities", str(sample), "--identity", "--json", *state])
    assert json.loads(default.stdout)["identities"] == ["visitor_id=ChatlioVisitor"]
    red = CliRunner().invoke(main, ["identities", str(sample), "--identity", "user_id=C", *state])
    assert red.exit_code == 1
    wrong = CliRunner().invoke(main, ["identities", str(sample), "--identity", "agent_email=Email", *state])
    assert wrong.exit_code == 2
    assert "never an identity" in wrong.stderr


def test_wrong_arguments_are_refused(sample_tables: Tables) -> None:
    """Tables and identities are checked before anything is counted."""
    with pytest.raises(UsageError):
        ck.audit_identities("captures/")  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        ck.audit_identities(sample_tables, [])
