-- Each message once, as the fullest transcript of its conversation that holds it has it.
-- A transcript without a conversation id is a talk of its own: its messages stay as they are.
--
-- From: events, message_parts (messages of every transcript, by the row of their event)
-- Parameters: $first, $last (talks from the first on and before the last; NULL for no limit)

WITH talks AS (
    SELECT *, coalesce(conversation_id, event_id) AS talk
    FROM events
    WHERE kind = 'transcript'
),

transcripts AS (
    SELECT
        row, conversation_id, event_id, talk,
        row_number() OVER by_fullness AS fullness,
        count(*) OVER (PARTITION BY talk) AS versions
    FROM talks
    WHERE ($first IS NULL OR talk >= $first) AND ($last IS NULL OR talk < $last)
    WINDOW by_fullness AS (
        PARTITION BY talk
        ORDER BY message_count DESC NULLS LAST, ended_at DESC NULLS LAST, row
    )
),

told_once AS (
    SELECT message_parts.* EXCLUDE (row), conversation_id, event_id, talk, fullness
    FROM message_parts JOIN transcripts USING (row)
    WHERE versions = 1
),

told_again AS (
    SELECT message_parts.* EXCLUDE (row), conversation_id, event_id, talk, fullness
    FROM message_parts JOIN transcripts USING (row)
    WHERE versions > 1
    QUALIFY row_number() OVER (PARTITION BY talk, ts ORDER BY fullness) = 1
)

SELECT conversation_id, ts, sent_at, author, username, slack_user_id, text, position, event_id
FROM (SELECT * FROM told_once UNION ALL SELECT * FROM told_again)
ORDER BY talk, sent_at, position, fullness
