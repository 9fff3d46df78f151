"""The five tables of a sample export by plain SQL, as an analyst would write it for one known export.

    python tests/benchmarks/duckdb_script.py CAPTURES OUT [MEMORY_LIMIT]

It trusts its captures, which `chatlio-kit convert` does not: it knows one envelope, one type for each field
and one name for files, and a broken line ends it. It validates, rejects, redacts, orders and reports nothing,
keeps no unknown field and numbers no records. Of two records with one id it keeps the first, uncompared. Ids
of transcripts and starts are ours; other ids, and payload_digest, are digests of the text as captured.
"""

# ruff: noqa: S608
import sys
from pathlib import Path

import duckdb

TEXTS = """conversation_id=conversationUUID visitor_id=visitor.UUID user_id=visitor.identUserId
    message=message visitor_handle=visitor.handle user_agent=visitor.userAgent
    page_url=visitor.currentPage subject=subject location=visitor.location
    referrer_url=visitor.referrerURL ip_address=visitor.IPAddress contact_name=name contact_email=email
    contact_mailbox=emailPretty channel_id=channelId channel_name=channelName
    slack_channel_id=slackChannelId slack_channel_name=slackChannelName slack_team_id=slackTeamID
    agent_email=agentEmail agent_name=agentName reply_to_email=replyToEmail archive_url=archiveUrl"""
PATHS = dict(column.split("=") for column in TEXTS.split())
OTHERS = """startedAt endedAt visitorEmail visitorName visitor.email visitor.name visitor.identTraits
    visitor.createdAt messages.text messages.ts messages.username messages.userId"""


def _fields(parent: str) -> str:
    paths = [path.rpartition(".") for path in (*PATHS.values(), *OTHERS.split())]
    return ", ".join(f'"{name}": "VARCHAR"' for head, _, name in paths if head == parent)


STRUCT = f"""{{{_fields("")}, "visitor": {{{_fields("visitor")}}}, "visitorTraits": "JSON",
    "extraData": "JSON", "messages": [{{{_fields("messages")}, "isVisitorMsg": "BOOLEAN"}}]}}"""
MACROS = """CREATE MACRO has(t) AS nullif(t, ''); CREATE MACRO times(c) AS count(*) FILTER (c);
    SET TimeZone = 'UTC'; CREATE MACRO utc(t) AS if(t = '' OR starts_with(t, '0001-'), NULL, t)::TIMESTAMPTZ;
    CREATE MACRO json_of(j) AS if(j->>'$' IN ('', '[]', '{}'), NULL, j->>'$')"""
CAPTURES = f"""CREATE TABLE captures AS SELECT row_number() OVER () AS row, filename[$root:] AS source_file,
        kind, widget, receivedAt, from_json(payload, '{STRUCT}') AS p, sha256(payload) AS payload_digest
    FROM read_json($files, format = 'newline_delimited', filename = true,
        columns = {{receivedAt: 'VARCHAR', kind: 'VARCHAR', widget: 'VARCHAR', payload: 'JSON'}})"""
TABLES = {
    "events": f"""SELECT row, event_id, kind, has(widget) AS widget_id, source_file, payload_digest,
            {", ".join(f"has(p.{path}) AS {column}" for column, path in PATHS.items())},
            utc(receivedAt) AS received_at, utc(p.startedAt) AS started_at, utc(p.endedAt) AS ended_at,
            coalesce(ended_at, received_at) AS occurred_at, utc(p.visitor.createdAt) AS visitor_created_at,
            if(ended_at IS NULL, 'received_at', 'ended_at') AS occurred_at_source,
            coalesce(has(p.visitor.email), has(p.visitorEmail)) AS visitor_email,
            coalesce(has(p.visitor.name), has(p.visitorName)) AS visitor_name,
            coalesce(has(p.visitor.identTraits), json_of(p.visitorTraits)) AS visitor_traits,
            json_of(p.extraData) AS command_words, 'webhook' AS origin, len(p.messages) AS message_count,
            has(array_to_string([m.ts FOR m IN p.messages], ' ')) AS message_ts
        FROM captures JOIN (SELECT min(row) AS row, sha256(kind || '|' || coalesce(CASE kind
            WHEN 'transcript' THEN has(p.conversationUUID) || '|' || has(p.endedAt)
            WHEN 'conversation_started' THEN has(p.conversationUUID) END,
            concat_ws('|', widget, receivedAt, payload_digest))) AS event_id
        FROM captures GROUP BY event_id) USING (row)""",
    "messages": """SELECT conversation_id, m.ts AS ts, has(m.username) AS username, has(m.text) AS text,
            make_timestamptz(replace(m.ts, '.', '')::BIGINT) AS sent_at, has(m.userId) AS slack_user_id,
            origin, position, event_id, CASE coalesce(m.isVisitorMsg, m.userId = '')
                WHEN true THEN 'visitor' WHEN false THEN 'agent' ELSE 'unknown' END AS author
        FROM (SELECT row, unnest(p.messages) AS m, generate_subscripts(p.messages, 1) AS position
            FROM captures) JOIN events USING (row) QUALIFY 1 = row_number() OVER (PARTITION BY
            coalesce(conversation_id, event_id), m.ts ORDER BY message_count DESC, ended_at DESC)""",
    "conversations": """WITH reported AS (
            SELECT conversation_id, arg_min(COLUMNS('^(occurred_at|page_url|visitor_id|channel_id)$'),
                    (kind <> 'conversation_started', occurred_at)),
                arg_max((started_at, ended_at, agent_name, agent_email, origin), (message_count, ended_at))
                    FILTER (kind = 'transcript') AS t, times(kind = 'transcript') AS transcripts,
                bool_or(kind = 'unanswered') AS was_unanswered, bool_or(kind = 'feedback') AS has_feedback
            FROM events WHERE conversation_id IS NOT NULL GROUP BY conversation_id),
        written AS (
            SELECT conversation_id, min(sent_at) FILTER (author = 'visitor') AS asked_at,
                list(sent_at) FILTER (author = 'agent') AS answers,
                arg_min(username, (sent_at, position)) FILTER (author = 'agent') AS answered_by,
                times(author = 'visitor') AS visitor_messages, times(author = 'agent') AS agent_messages,
                times(author = 'unknown') AS unknown_messages
            FROM messages GROUP BY conversation_id)
        SELECT conversation_id, coalesce(t[1], occurred_at) AS started_at, t[2] AS ended_at,
            visitor_id, t[3] AS agent_name, t[4] AS agent_email, t[5] AS origin, page_url, channel_id,
            (epoch_us(ended_at) - epoch_us(started_at)) / 1e6 AS duration_seconds, transcripts, answered_by,
            epoch(list_min([a FOR a IN answers IF a >= asked_at]) - asked_at) AS first_response_seconds,
            was_unanswered, has_feedback, coalesce(COLUMNS('_messages$'), 0)
        FROM reported LEFT JOIN written USING (conversation_id)""",
    "visitors": """SELECT visitor_id, count(DISTINCT conversation_id) AS conversations, count(*) AS events,
            min(occurred_at) AS first_seen_at, max(occurred_at) AS last_seen_at,
            arg_max(COLUMNS('^(visitor_[^i]|user_|ip_|location)'), occurred_at)
        FROM events WHERE visitor_id IS NOT NULL GROUP BY visitor_id""",
    "offline_messages": """SELECT event_id, occurred_at, visitor_id, contact_name, contact_email, subject,
            message, page_url FROM events WHERE kind = 'offline_message'""",
}
captures, out, *memory_limit = sys.argv[1:]
files = sorted(map(str, Path(captures).rglob("*.ndjson*")))
with duckdb.connect(config={"temp_directory": f"{out}/temporary"}) as database:
    database.execute("".join(f"SET memory_limit = '{limit}';" for limit in memory_limit) + MACROS)
    database.execute(CAPTURES, {"files": files, "root": len(str(Path(captures).parent)) + 2})
    for table, query in TABLES.items():
        database.execute(f"CREATE TABLE {table} AS {query}; COPY {table} TO '{out}/{table}.parquet'")
