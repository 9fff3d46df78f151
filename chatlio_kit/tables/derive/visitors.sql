-- One row for each visitor, with the latest known value of each fact.
--
-- From: events
-- Parameters: $first, $last (visitors from the first on and before the last; NULL for no limit)

SELECT
    visitor_id,
    last_value(visitor_email IGNORE NULLS) OVER by_time AS visitor_email,
    last_value(visitor_name IGNORE NULLS) OVER by_time AS visitor_name,
    last_value(user_id IGNORE NULLS) OVER by_time AS user_id,
    last_value(visitor_traits IGNORE NULLS) OVER by_time AS visitor_traits,
    last_value(visitor_handle IGNORE NULLS) OVER by_time AS visitor_handle,
    last_value(user_agent IGNORE NULLS) OVER by_time AS user_agent,
    last_value(ip_address IGNORE NULLS) OVER by_time AS ip_address,
    last_value(location IGNORE NULLS) OVER by_time AS location,
    last_value(visitor_created_at IGNORE NULLS) OVER by_time AS visitor_created_at,
    first_value(occurred_at) OVER by_time AS first_seen_at,
    last_value(occurred_at) OVER by_time AS last_seen_at,
    count(DISTINCT conversation_id) OVER by_time AS conversations,
    count(*) OVER by_time AS events
FROM events
WHERE
    visitor_id IS NOT NULL
    AND ($first IS NULL OR visitor_id >= $first) AND ($last IS NULL OR visitor_id < $last)
WINDOW by_time AS (
    PARTITION BY visitor_id
    ORDER BY occurred_at, row
    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
)
QUALIFY row_number() OVER (PARTITION BY visitor_id ORDER BY occurred_at, row) = 1
ORDER BY visitor_id
