"""Read conversations from a Slack workspace export."""

from chatlio_kit.slack.conversations import Conversation, conversation_id
from chatlio_kit.slack.files import exports_among, is_export, unpacked_among
from chatlio_kit.slack.history import ChannelRead, Sent, SlackCounts, SlackHistory
from chatlio_kit.slack.settings import ARCHIVE, SlackSettings
from chatlio_kit.slack.webhooks import Start, Webhooks

__all__ = [
    "ARCHIVE",
    "ChannelRead",
    "Conversation",
    "Sent",
    "SlackCounts",
    "SlackHistory",
    "SlackSettings",
    "Start",
    "Webhooks",
    "conversation_id",
    "exports_among",
    "is_export",
    "unpacked_among",
]
