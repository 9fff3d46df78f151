-- Each message once, from the fullest transcript of its conversation that contains it.
-- A transcript without a conversation id counts as its own conversation: its messages stay unchanged.
--
-- From: events, message_parts (messages of every transcript, by the row of their event)
-- Parameters: $first, $last (conversation keys from the first on and before the last; NULL for no limit)

WITH conversations_of_transcripts AS (
    SELECT *, coalesce(conversation_id, event_id) AS conversation_key
    FROM events
    WHERE kind = 'transcript'
),

transcripts AS (
    SELECT
        row, conversation_id, event_id, conversation_key, origin,
        row_number() OVER by_fullness AS fullness,
        count(*) OVER (PARTITION BY conversation_key) AS versions
    FROM conversations_of_transcripts
    WHERE ($first IS NULL OR conversation_key >= $first) AND ($last IS NULL OR conversation_key < $last)
    WINDOW by_fullness AS (
        PARTITION BY conversation_key
        ORDER BY message_count DESC NULLS LAST, ended_at DESC NULLS LAST, row
    )
),

single AS (
    SELECT message_parts.* EXCLUDE (row), conversation_id, event_id, origin, conversation_key, fullness
    FROM message_parts JOIN transcripts USING (row)
    WHERE versions = 1
),

repeated AS (
    SELECT message_parts.* EXCLUDE (row), conversation_id, event_id, origin, conversation_key, fullness
    FROM message_parts JOIN transcripts USING (row)
    WHERE versions > 1
    QUALIFY row_number() OVER (PARTITION BY conversation_key, ts ORDER BY fullness) = 1
)

SELECT
    conversation_id, ts, sent_at, author, username, slack_user_id, text, slack_text, position, event_id, origin
FROM (SELECT * FROM single UNION ALL SELECT * FROM repeated)
ORDER BY conversation_key, sent_at, position, fullness
