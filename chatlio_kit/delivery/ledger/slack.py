"""A destination's conversations from Slack exports, for comparison with later exports and captures.

A row holds digests and Slack's ts, but no names: a conversation's own id derives from its channel and anchor.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from chatlio_kit.delivery.ledger.destination import DestinationLedger
from chatlio_kit.slack import Sent, conversation_id

_TABLE = """
CREATE TABLE IF NOT EXISTS slack_conversation (
    destination INTEGER NOT NULL REFERENCES destination,
    channel BLOB NOT NULL,
    anchor TEXT NOT NULL,
    last_ts TEXT NOT NULL,
    has_own_id INTEGER NOT NULL,
    PRIMARY KEY (destination, channel, anchor)
) WITHOUT ROWID"""
_KNOWN = "SELECT anchor, last_ts FROM slack_conversation WHERE destination = ? AND channel = ?"
_HAS_OWN_ID = """
SELECT has_own_id FROM slack_conversation WHERE destination = ? AND channel = ? AND anchor = ?
"""
_RECORD = """
INSERT INTO slack_conversation VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET last_ts = max(last_ts, excluded.last_ts),
    has_own_id = max(has_own_id, excluded.has_own_id)
"""

_FROM_OTHER_FILES = """
SELECT count(*) FROM event WHERE destination = :destination AND kind = 'transcript' AND source_file != :name
    AND instr(source_file, :name || '!') != 1
"""


class SlackConversations:
    """A destination's conversations from Slack exports.

    Args:
        destination: The destination's part of the ledger.
    """

    def __init__(self, destination: DestinationLedger) -> None:
        self._ledger, self._id = destination.ledger, destination.id
        with self._ledger.transaction() as db:
            db.execute(_TABLE)

    def known(self, channel_id: str) -> list[Sent]:
        """Return the conversations of a channel that earlier runs read."""
        rows = self._ledger.fetch_all(_KNOWN, (self._id, _key(channel_id)))
        return [
            Sent(channel_id, anchor, last_ts, conversation_id(channel_id, anchor)) for anchor, last_ts in rows
        ]

    def from_other_files(self, name: str) -> int:
        """Return the number of the destination's transcripts that were not read from this export."""
        return int(self._ledger.fetch_all(_FROM_OTHER_FILES, {"destination": self._id, "name": name})[0][0])

    def record(self, conversations: Sequence[Sent]) -> list[Sent]:
        """Record conversations, and return those that the dataset holds under two ids.

        They were sent under their own id before a webhook named them.
        """
        pairs = []
        for sent in conversations:
            key = (self._id, _key(sent.channel_id), sent.anchor)
            if sent.webhook_id is not None and self._ledger.fetch_all(_HAS_OWN_ID, key) == [(1,)]:
                pairs.append(sent)
        with self._ledger.transaction() as db:
            db.executemany(
                _RECORD,
                (
                    (
                        self._id,
                        _key(sent.channel_id),
                        sent.anchor,
                        sent.last_ts,
                        int(sent.webhook_id is None and sent.has_event),
                    )
                    for sent in conversations
                ),
            )
        return pairs


def pair_notes(pairs: list[Sent], *, may_name: bool) -> list[str]:
    """Report conversations that are in the dataset under two ids.

    Args:
        pairs: The conversations.
        may_name: True if ids may be shown.
    """
    if not pairs:
        return []
    named = ""
    if may_name:
        shown = [f"{pair.conversation_id} and {pair.webhook_id}" for pair in pairs[:3]]
        named = f": {', '.join(shown)}" + (f" and {len(pairs) - 3:,} more" if len(pairs) > 3 else "")
    return [
        f"{len(pairs):,} Slack conversations were sent before their webhooks were read, so the dataset has "
        f"them under two ids, their own and Chatlio's{named}"
    ]


def _key(channel_id: str) -> bytes:
    return sha256(f"slack-channel|{channel_id}".encode()).digest()
