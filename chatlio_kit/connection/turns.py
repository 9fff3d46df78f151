"""Conversation turns: the steps that only Customer Journey Analytics' own screens offer.

Source: Customer Journey Analytics: Conversation Insights, configure; Connections.
"""

from __future__ import annotations

UI_STEPS: tuple[str, ...] = (
    "Configure before you backfill: Adobe does not document whether rows that existed before the "
    "configuration are analysed.",
    "1. In Customer Journey Analytics, as a system administrator: Data Management, Conversation Insights "
    "configuration, Create. Choose the sandbox, the turns dataset for Prompts and for Responses, the "
    "feedback dataset for Feedback event, a connection and one or more data views.",
    "2. In the connection choose the identity map as person ID, with the primary identity. Rows without an "
    "identity are in the lake, and Customer Journey Analytics skips them.",
    "3. Rows older than a day count as backfill there: a small one is ready within 7 days, a large one "
    "within 30. Then open a Workspace project on the data view.",
)
"""The steps in order, and what to expect."""
