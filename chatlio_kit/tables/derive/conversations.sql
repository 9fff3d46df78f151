-- One row for each conversation, from its events, its fullest transcript (a webhook's
-- takes precedence over a Slack export's) and its messages.
--
-- From: events, messages (the finished table; its rows in order of time)
-- Parameters: $first, $last (conversations from the first on and before the last; NULL for no limit)

WITH named AS (
    SELECT *
    FROM events
    WHERE
        conversation_id IS NOT NULL
        AND ($first IS NULL OR conversation_id >= $first) AND ($last IS NULL OR conversation_id < $last)
),

known AS (
    SELECT
        conversation_id,
        first_value(occurred_at) OVER by_time AS first_event_at,
        first_value(visitor_id IGNORE NULLS) OVER by_time AS visitor_id,
        first_value(page_url IGNORE NULLS) OVER by_time AS first_page_url,
        first_value(channel_id IGNORE NULLS) OVER by_time AS channel_id,
        count(*) FILTER (kind = 'transcript') OVER by_time AS transcripts,
        -- only webhooks report these; NULL for a conversation that is known only from Slack
        CASE WHEN bool_or(origin = 'webhook') OVER by_time THEN bool_or(kind = 'unanswered') OVER by_time END
            AS was_unanswered,
        CASE WHEN bool_or(origin = 'webhook') OVER by_time THEN bool_or(kind = 'feedback') OVER by_time END
            AS has_feedback
    FROM named
    WINDOW by_time AS (
        PARTITION BY conversation_id
        ORDER BY occurred_at, row
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
    QUALIFY row_number() OVER (PARTITION BY conversation_id ORDER BY occurred_at, row) = 1
),

starts AS (
    SELECT conversation_id, occurred_at AS start_event_at, page_url AS start_page_url
    FROM named
    WHERE kind = 'conversation_started'
    QUALIFY row_number() OVER (PARTITION BY conversation_id ORDER BY occurred_at, row) = 1
),

fullest AS (
    SELECT
        conversation_id, started_at, ended_at, agent_name, agent_email, origin, ended_by, start_is_whole
    FROM named
    WHERE kind = 'transcript'
    QUALIFY row_number() OVER (
        PARTITION BY conversation_id
        ORDER BY origin = 'slack_export', message_count DESC NULLS LAST, ended_at DESC NULLS LAST, row
    ) = 1
),

named_messages AS (
    SELECT conversation_id, row, sent_at, author, username
    FROM messages
    WHERE
        conversation_id IS NOT NULL
        AND ($first IS NULL OR conversation_id >= $first) AND ($last IS NULL OR conversation_id < $last)
),

authors AS (
    SELECT
        conversation_id,
        min(sent_at) FILTER (author = 'visitor') AS asked_at,
        min(row) FILTER (author = 'agent') AS first_agent_row,
        count(*) FILTER (author = 'visitor') AS visitor_messages,
        count(*) FILTER (author = 'agent') AS agent_messages,
        count(*) FILTER (author = 'unknown') AS unknown_messages
    FROM named_messages
    GROUP BY conversation_id
),

answers AS (
    SELECT
        conversation_id,
        min(sent_at) FILTER (sent_at >= asked_at) AS answered_at,
        min(username) FILTER (row = first_agent_row) AS answered_by
    FROM named_messages JOIN authors USING (conversation_id)
    WHERE author = 'agent'
    GROUP BY conversation_id
)

SELECT
    conversation_id,
    coalesce(started_at, start_event_at, first_event_at) AS began_at,
    ended_at,
    (epoch_us(ended_at) - epoch_us(began_at)) / 1e6 AS duration_seconds,
    (epoch_us(answered_at) - epoch_us(asked_at)) / 1e6 AS first_response_seconds,
    visitor_id,
    coalesce(start_page_url, first_page_url) AS page_url,
    channel_id,
    agent_name,
    agent_email,
    answered_by,
    coalesce(visitor_messages, 0) AS visitor_messages,
    coalesce(agent_messages, 0) AS agent_messages,
    coalesce(unknown_messages, 0) AS unknown_messages,
    transcripts,
    origin,
    ended_by,
    start_is_whole,
    was_unanswered,
    has_feedback
FROM known
LEFT JOIN starts USING (conversation_id)
LEFT JOIN fullest USING (conversation_id)
LEFT JOIN authors USING (conversation_id)
LEFT JOIN answers USING (conversation_id)
ORDER BY conversation_id
