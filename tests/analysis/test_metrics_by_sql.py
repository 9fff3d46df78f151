"""Each metric equals an SQL query of its own over the Parquet files, in calendar and in business time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import holidays
import pandas as pd
import pytest

import chatlio_kit as ck
from chatlio_kit.analysis.definitions import METRICS, Measure
from chatlio_kit.analysis.measure import Metrics

from .conftest import HOURS, REGION, ZONE

# Opening hours as rows: each local day by itself, whatever the clocks do on it.
OPEN = f"""
CREATE TABLE open AS
SELECT timezone('{ZONE}', day + opens) AS opens, timezone('{ZONE}', day + closes) AS closes
FROM (SELECT unnest(generate_series(TIMESTAMP '2022-12-01', TIMESTAMP '2026-02-01', INTERVAL 1 DAY)) AS day)
JOIN (VALUES
    (1, 5, INTERVAL '9 hours', INTERVAL '17 hours 30 minutes'),
    (6, 6, INTERVAL '10 hours', INTERVAL '12 hours'),
    (6, 6, INTERVAL '13 hours', INTERVAL '15 hours')
) AS rules(first, last, opens, closes) ON isodow(day) BETWEEN first AND last
WHERE day::DATE NOT IN (SELECT day FROM closed);

CREATE MACRO seconds(a, b) AS (epoch_us(b) - epoch_us(a)) / 1e6;
CREATE MACRO open_seconds(a, b) AS (
    SELECT coalesce(sum(seconds(greatest(a, opens), least(b, closes))), 0)
    FROM open WHERE opens < b AND closes > a
);
CREATE MACRO is_open(t) AS EXISTS (SELECT 1 FROM open WHERE t >= opens AND t < closes);

CREATE TABLE said AS
SELECT *, row_number() OVER (PARTITION BY conversation_id ORDER BY sent_at, position, place) AS number
FROM (
    SELECT *, file_row_number AS place
    FROM read_parquet('{{folder}}/messages.parquet', file_row_number = true)
)
WHERE conversation_id IS NOT NULL AND author <> 'unknown';

CREATE TABLE chats AS
SELECT *, started_at AS moment FROM '{{folder}}/conversations.parquet';

-- each message of the visitor that opens a turn, with the first message of an agent after it; and the reverse
CREATE TABLE asked AS
SELECT a.*, (
    SELECT min_by(struct_pack(moment := b.sent_at, who := b.username), b.number) FROM said b
    WHERE b.conversation_id = a.conversation_id AND b.number > a.number AND b.author <> a.author
) AS reply
FROM said a
WHERE NOT EXISTS (
    SELECT 1 FROM said c
    WHERE c.conversation_id = a.conversation_id AND c.number = a.number - 1 AND c.author = a.author
);

CREATE TABLE ends AS
SELECT conversation_id, min(ended_at) AS first_end, max(ended_at) AS last_end
FROM '{{folder}}/events.parquet' WHERE kind = 'transcript' AND conversation_id IS NOT NULL GROUP BY ALL;
"""

_REPLIES = "FROM asked JOIN chats USING (conversation_id) WHERE author = 'visitor' AND reply IS NOT NULL"
_TOUCHES = (
    "(SELECT count(*) FROM asked WHERE asked.conversation_id = chats.conversation_id AND author = 'agent')"
)
_KNOWN = "FROM chats WHERE transcripts > 0 OR was_unanswered"
_FIRST = """(SELECT min_by(struct_pack(asked := sent_at, reply := reply), number) FROM asked
    WHERE asked.conversation_id = chats.conversation_id AND author = 'visitor')"""


def _span(a: str, b: str, source: str, who: str = "answered_by") -> str:
    """Return a query of seconds from a to b, in calendar time and in business time."""
    return f"""SELECT moment, page_url, {who} AS agent, seconds(a, b) AS value, open_seconds(a, b) AS business
        FROM (SELECT *, {a} AS a, {b} AS b {source}) WHERE b >= a"""


def _flag(condition: str, source: str = "FROM chats") -> str:
    """Return a query for a value that counts as business time if the conversation began in opening hours."""
    return f"""SELECT *, CASE WHEN is_open(moment) THEN value END AS business
        FROM (SELECT moment, page_url, answered_by AS agent, ({condition})::DOUBLE AS value {source})"""


def _together(how: str, author: str) -> str:
    return f"""SELECT any_value(chats.moment) AS moment, any_value(answered_by) AS agent,
        {how}(seconds(sent_at, reply.moment)) AS value, {how}(open_seconds(sent_at, reply.moment)) AS business
        FROM asked JOIN chats USING (conversation_id)
        WHERE author = '{author}' AND reply IS NOT NULL GROUP BY conversation_id"""


_ENDED = "chats WHERE ended_at >= started_at"
SQL = {
    "conversations": _flag("1"),
    "offline_messages": """SELECT occurred_at AS moment, NULL AS agent, 1.0 AS value,
        CASE WHEN is_open(occurred_at) THEN 1.0 END AS business FROM '{folder}/offline_messages.parquet'""",
    "backlog": f"""SELECT timezone('{ZONE}', day) AS moment, NULL AS agent, value,
        CASE WHEN opens THEN value END AS business
        FROM (SELECT *, (
            SELECT count(*) > 0 FROM open WHERE timezone('{ZONE}', opens)::DATE = day::DATE) AS opens, (
            SELECT count(*) FROM {_ENDED} AND started_at < timezone('{ZONE}', day + INTERVAL 1 DAY)
            AND ended_at > timezone('{ZONE}', day + INTERVAL 1 DAY))::DOUBLE AS value
        FROM (SELECT unnest(generate_series(
            date_trunc('day', (SELECT min(timezone('{ZONE}', started_at)) FROM {_ENDED})),
            date_trunc('day', (SELECT max(timezone('{ZONE}', ended_at)) FROM {_ENDED})),
            INTERVAL 1 DAY)) AS day))""",
    "concurrency": f"""SELECT *, CASE WHEN is_open(moment) THEN value END AS business
        FROM (SELECT moment, NULL AS agent, (SELECT count(*) FROM chats b WHERE b.ended_at >= b.started_at
            AND b.started_at <= a.moment AND b.ended_at > a.moment)::DOUBLE AS value
        FROM (SELECT * FROM {_ENDED}) a)""",
    "visitor_messages": _flag("visitor_messages", "FROM chats WHERE transcripts > 0"),
    "agent_messages": _flag("agent_messages", "FROM chats WHERE transcripts > 0"),
    "returning_visitors": _flag(
        """EXISTS (SELECT 1 FROM chats b WHERE b.visitor_id = chats.visitor_id
        AND (b.started_at, b.conversation_id) < (chats.started_at, chats.conversation_id))""",
        "FROM chats WHERE visitor_id IS NOT NULL",
    ),
    "first_reply_time": _span("f.asked", "f.reply.moment", f"FROM (SELECT *, {_FIRST} AS f FROM chats)"),
    "reply_time": """SELECT sent_at AS moment, reply.who AS agent, seconds(sent_at, reply.moment) AS value,
        open_seconds(sent_at, reply.moment) AS business """
    + _REPLIES,
    "slowest_reply": _together("max", "visitor"),
    "visitor_wait": _together("sum", "visitor"),
    "agent_wait": _together("sum", "agent"),
    "replied_within_a_minute": f"""SELECT moment, answered_by AS agent,
        coalesce(seconds(f.asked, f.reply.moment) < 60, false)::DOUBLE AS value,
        coalesce(f.reply.moment IS NOT NULL AND open_seconds(f.asked, f.reply.moment) < 60, false)::DOUBLE
            AS business
        FROM (SELECT *, {_FIRST} AS f FROM chats) WHERE f IS NOT NULL""",
    "unanswered": _flag("was_unanswered", "FROM chats WHERE was_unanswered IS NOT NULL"),
    "missed": _flag("agent_messages = 0", _KNOWN),
    "abandoned": _flag(
        "agent_messages = 0 AND NOT was_unanswered",
        "FROM chats WHERE was_unanswered OR (transcripts > 0 AND was_unanswered IS NOT NULL)",
    ),
    "dropped": _flag(
        """(SELECT max_by(author, number) FROM said WHERE said.conversation_id = chats.conversation_id)
        = 'visitor'""",
        "FROM chats WHERE agent_messages > 0",
    ),
    "duration": _span("started_at", "ended_at", "FROM chats"),
    "handling_time": _span(
        "(SELECT min(sent_at) FROM said s WHERE s.conversation_id = c.conversation_id AND author = 'agent')",
        """(SELECT max(sent_at) FROM '{folder}/messages.parquet' s
            WHERE s.conversation_id = c.conversation_id)""",
        "FROM chats c WHERE agent_messages > 0",
    ),
    "first_resolution_time": _span(
        "started_at", "first_end", "FROM chats JOIN ends USING (conversation_id) WHERE agent_messages > 0"
    ),
    "resolution_time": _span(
        "started_at", "last_end", "FROM chats JOIN ends USING (conversation_id) WHERE agent_messages > 0"
    ),
    "one_touch": _flag(f"{_TOUCHES} = 1", "FROM chats WHERE agent_messages > 0"),
    "two_touch": _flag(f"{_TOUCHES} = 2", "FROM chats WHERE agent_messages > 0"),
    "multi_touch": _flag(f"{_TOUCHES} > 2", "FROM chats WHERE agent_messages > 0"),
    "handed_over": _flag(
        "agents > 1",
        """FROM chats JOIN (
            SELECT conversation_id, count(DISTINCT coalesce(slack_user_id, username)) AS agents
            FROM said WHERE author = 'agent' GROUP BY ALL HAVING agents > 0
        ) USING (conversation_id)""",
    ),
    "reopened": _flag(
        """last_end > first_end AND EXISTS (SELECT 1 FROM '{folder}/messages.parquet' m
        WHERE m.conversation_id = chats.conversation_id AND m.sent_at > first_end)""",
        "FROM chats LEFT JOIN ends USING (conversation_id) WHERE transcripts > 0",
    ),
    "feedback": _flag("has_feedback", "FROM chats WHERE has_feedback IS NOT NULL"),
}

_QUARTILES = """count({0}) AS {1}count, avg({0}) AS {1}mean, quantile_cont({0}, 0.25) AS {1}lower_quartile,
    median({0}) AS {1}median, quantile_cont({0}, 0.75) AS {1}upper_quartile, max({0}) AS {1}highest"""
SUMMARY = {
    Measure.DURATION: _QUARTILES,
    Measure.NUMBER: _QUARTILES,
    Measure.SHARE: "count({0}) AS {1}count, coalesce(sum({0}), 0) AS {1}number, avg({0}) AS {1}share",
    Measure.COUNT: "coalesce(sum({0}), 0) AS {1}number",
}


@pytest.fixture(scope="module")
def database(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the opening hours and the queries' common parts."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        closed = holidays.country_holidays("DE", subdiv="BE", years=range(2022, 2027))
        connection.register("closed", pd.DataFrame({"day": pd.to_datetime(list(closed)).date}))
        connection.execute(OPEN.replace("{folder}", str(folder)))
        yield connection


@pytest.fixture(scope="module")
def measured(folder: Path) -> Metrics:
    """The metrics of the same files."""
    return ck.measure(ck.read_tables(folder), hours=HOURS, time_zone=ZONE, holidays=REGION)


def test_each_metric_has_a_query() -> None:
    """No metric goes unchecked, and there are more than twenty."""
    assert SQL.keys() == METRICS.keys()
    assert len(SQL) > 20


CASES = [
    *((metric, by) for metric in METRICS for by in ("month", "agent")),
    *(("conversations", by) for by in ("day", "week", "quarter", "hour", "weekday", "page", "site")),
    *(("first_reply_time", by) for by in ("hour", "weekday", "page")),
]
_LOCAL = f"timezone('{ZONE}', moment)"
_PAGE = "regexp_replace(page_url, '[?#].*', '')"
NAMES = {
    "day": f"strftime({_LOCAL}, '%Y-%m-%d')",
    "week": f"strftime({_LOCAL}, '%G-W%V')",
    "month": f"strftime({_LOCAL}, '%Y-%m')",
    "quarter": f"year({_LOCAL}) || '-Q' || quarter({_LOCAL})",
    "hour": f"hour({_LOCAL})",
    "weekday": f"dayname({_LOCAL})",
    "agent": "coalesce(agent, '(none)')",
    "page": f"coalesce({_PAGE}, '(none)')",
    "site": f"coalesce(split_part({_PAGE}, '/', 3), '(none)')",
}


@pytest.mark.parametrize(("metric", "by"), CASES)
def test_a_metric_equals_its_query(
    metric: str, by: str, database: duckdb.DuckDBPyConnection, measured: Metrics, folder: Path
) -> None:
    """By month, by agent, and by everything else: every count, quartile, mean, sum and share."""
    if by == "agent" and "agent" not in measured.rows(metric):
        with pytest.raises(ck.ChatlioKitError, match="not available by agent"):
            measured.frame(metric, "agent")
        return
    group = NAMES[by]
    summary = SUMMARY[METRICS[metric].measure]
    expected = (
        database.sql(
            f"SELECT {group} AS name, {summary.format('value', '')}, "
            f"{summary.format('business', 'business_')} "
            f"FROM ({SQL[metric].replace('{folder}', str(folder))}) GROUP BY ALL"
        )
        .df()
        .set_index("name")
    )
    found = measured.frame(metric, by)
    assert len(expected)
    assert expected.index.isin(found.index).all()
    columns = list(expected)
    assert [name for name in found if not name.endswith(("before", "change"))] == columns
    pd.testing.assert_frame_equal(
        found[columns].loc[expected.index], expected, check_dtype=False, check_names=False, rtol=1e-9
    )
    others = found[columns].drop(index=expected.index)
    assert not others.fillna(0).to_numpy().any()  # months without a row


def test_the_seasons_contain_the_measured_patterns(seasons: ck.Tables) -> None:
    """The export around the clock changes has conversations of every type."""
    measured = ck.measure(seasons, hours=HOURS, time_zone=ZONE, holidays=REGION)
    for name, metric in METRICS.items():
        rows = measured.rows(name)
        if metric.measure is Measure.SHARE:
            assert set(rows["value"]) == {0.0, 1.0}, name
        if metric.measure is Measure.DURATION:
            assert ((rows["business_value"] > 0) & (rows["business_value"] < rows["value"])).any(), name
    starts, ends = (seasons.conversations[name] for name in ("started_at", "ended_at"))
    for change in ("2024-03-31T01:00Z", "2024-10-27T01:00Z"):
        assert ((starts < change) & (ends > change)).any()
