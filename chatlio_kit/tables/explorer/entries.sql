-- One row for each entry of an explorer: a conversation with all its events, or an event outside any.
-- Only what is needed to choose; names and texts are loaded of what was chosen.
--
-- From: events, messages, matched (the keys of the entries that are searched for)
-- Parameters: $longest (characters shown of a text), $is_search (whether only matched entries are meant)

WITH of_events AS (
    SELECT
        coalesce(conversation_id, event_id) AS entry,
        epoch_ms(min(least(occurred_at, started_at))) AS started_at,
        count(*) AS events,
        sum(least(coalesce(length(message), 0), $longest)) AS characters
    FROM events
    GROUP BY entry
),

of_messages AS (
    SELECT
        coalesce(conversation_id, event_id) AS entry,
        count(*) AS messages,
        sum(least(coalesce(length(text), 0), $longest)) AS characters
    FROM messages
    GROUP BY entry
)

SELECT
    entry,
    started_at,
    events,
    coalesce(messages, 0) AS messages,
    CAST(of_events.characters + coalesce(of_messages.characters, 0) AS BIGINT) AS characters
FROM of_events LEFT JOIN of_messages USING (entry)
WHERE NOT $is_search OR entry IN (SELECT entry FROM matched)
ORDER BY started_at DESC, entry
