-- One row for each entry of an explorer: a conversation with all its events, or an event outside any.
--
-- From: events, messages
-- Parameters: $longest (characters shown of a text), $with_words (whether the searched texts are wanted)

WITH of_events AS (
    SELECT
        coalesce(conversation_id, event_id) AS entry,
        any_value(conversation_id) AS conversation_id,
        any_value(kind) AS kind,
        epoch_ms(min(least(occurred_at, started_at))) AS started_at,
        epoch_ms(max(ended_at)) AS ended_at,
        arg_max(coalesce(contact_name, visitor_name), (occurred_at, event_id)) AS visitor,
        arg_max(coalesce(contact_email, visitor_email), (occurred_at, event_id)) AS visitor_email,
        arg_max(visitor_id, (occurred_at, event_id)) AS visitor_id,
        arg_max(agent_name, (occurred_at, event_id)) AS agent,
        arg_min(page_url, (occurred_at, event_id)) AS page_url,
        bool_or(kind = 'unanswered') AS was_unanswered,
        bool_or(kind = 'feedback') AS has_feedback,
        list(event_id ORDER BY occurred_at, event_id) AS event_ids,
        sum(least(coalesce(length(message), 0), $longest)) AS characters,
        string_agg(concat_ws(chr(10), event_id, source_file, concat_ws(': ', subject, message)), chr(10))
            FILTER ($with_words) AS words
    FROM events
    GROUP BY entry
),

of_messages AS (
    SELECT
        coalesce(conversation_id, event_id) AS entry,
        count(*) AS messages,
        sum(least(coalesce(length(text), 0), $longest)) AS characters,
        string_agg(concat_ws(chr(10), username, text), chr(10)) FILTER ($with_words) AS words
    FROM messages
    GROUP BY entry
)

SELECT
    of_events.* EXCLUDE (characters, words),
    coalesce(messages, 0) AS messages,
    CAST(of_events.characters + coalesce(of_messages.characters, 0) AS BIGINT) AS characters,
    concat_ws(
        chr(10), conversation_id, visitor, visitor_email, visitor_id, agent, page_url,
        of_events.words, of_messages.words
    ) AS words
FROM of_events LEFT JOIN of_messages USING (entry)
ORDER BY started_at DESC, entry
