-- The offline messages, in order of time.
--
-- From: events

SELECT event_id, occurred_at, visitor_id, contact_name, contact_email, subject, message, page_url
FROM events
WHERE kind = 'offline_message'
ORDER BY occurred_at, row
