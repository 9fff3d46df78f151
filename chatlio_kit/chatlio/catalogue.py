"""The catalogue: every field, defined once.

A line gives a column's name, dtype, privacy class and meaning; its path in each payload shape (C
conversation, O offline message, T transcript); the rule for its values; and whether it is sent. pandera
schemas, the XDM field group, mapping sets, wire records and the data dictionary derive from it.

A sent field keeps its column name on the wire and in XDM (``_{tenant}.chatlio.<column>``), so a name means
the same in a frame, a request and a query. ``live`` lists the shapes in which every documented sample has the
field; mapping any other field from a live webhook could cost the record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from chatlio_kit.chatlio.kinds import Kind, Shape


class Dtype(StrEnum):
    """The type of a column."""

    TEXT = "text"
    JSON = "json"  # free-form JSON, as a string
    TIME = "time"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"


class Privacy(StrEnum):
    """Levels of what a value reveals about a person."""

    PLAIN = "plain"  # identifies no one; never redacted
    PSEUDONYM = "pseudonym"  # an id that identifies a person together with other data
    PERSONAL = "personal"  # identifies a visitor by itself
    CONTENT = "content"  # free text or data from visitors and agents; may contain anything
    STAFF = "staff"  # identifies an agent


class Form(StrEnum):
    """The structure of a string, part of which can be shown without the rest."""

    EMAIL = "e-mail address"
    URL = "URL"
    PLACE = "place, from city to country"


@dataclass(frozen=True)
class Rule:
    """A rule for a column's values, with its description."""

    hint: str
    pattern: str | None = None
    allowed: tuple[str, ...] = ()
    minimum: float | None = None
    past: bool = False


@dataclass(frozen=True)
class Field:
    """One column of one table.

    Attributes:
        name: Column name, in snake_case.
        dtype: Type of the column.
        privacy: Level of what it reveals about a person.
        meaning: Description for the data dictionary.
        paths: Path in the payload, by payload shape; in ``messages``, path in the message.
        rule: Rule for its values; None if any value of the dtype is valid.
        required: True if every row has a value. ``required_in`` limits this to some payload shapes.
        xdm: Path in XDM, relative to the schema's root; None if it is not sent.
        live: Shapes whose live dataflow may map it.
        any_scalar: True if numbers and booleans are accepted and converted to strings.
        form: Structure of its values, where redaction depends on it.
        unsent: Value that is not sent, because it is the default.
    """

    name: str
    dtype: Dtype
    privacy: Privacy
    meaning: str
    paths: dict[Shape, str] = field(default_factory=dict)
    rule: Rule | None = None
    required: bool = False
    required_in: frozenset[Shape] = frozenset()
    xdm: str | None = None
    live: frozenset[Shape] = frozenset()
    any_scalar: bool = False
    form: Form | None = None
    unsent: str | None = None


TEXT, JSON, TIME = Dtype.TEXT, Dtype.JSON, Dtype.TIME
INTEGER, NUMBER, FLAG = Dtype.INTEGER, Dtype.NUMBER, Dtype.FLAG
PLAIN, PSEUDONYM, PERSONAL = Privacy.PLAIN, Privacy.PSEUDONYM, Privacy.PERSONAL
CONTENT, STAFF = Privacy.CONTENT, Privacy.STAFF
EMAIL, URL, PLACE = Form.EMAIL, Form.URL, Form.PLACE

# Chatlio's ids look like UUIDs but fail strict checks of the version and variant digits.
UUID = Rule("8-4-4-4-12 hexadecimal digits", pattern=r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
DIGEST = Rule("64 lower-case hexadecimal digits", pattern=r"[0-9a-f]{64}")
SLACK_TS = Rule("seconds, a dot and six digits, as in 1710144005.000200", pattern=r"\d{1,11}\.\d{6}")
_OCTET = r"(25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = rf"({_OCTET}\.){{3}}{_OCTET}"
IP = Rule(
    "an IPv4 or IPv6 address", pattern=rf"{_IPV4}|([0-9A-Fa-f]{{0,4}}:){{2,7}}([0-9A-Fa-f]{{0,4}}|{_IPV4})"
)
PAST = Rule("a time that is not in the future", past=True)
KINDS = Rule("one of the five kinds", allowed=tuple(Kind))
SOURCES = Rule(
    "the source of the event's time",
    allowed=("ended_at", "received_at", "file_time", "visitor_created", "given", "slack_ts"),
)
AUTHORS = Rule("visitor, agent or unknown", allowed=("visitor", "agent", "unknown"))
COUNT = Rule("zero or more", minimum=0)
ORIGINS = Rule("webhook or slack_export", allowed=("webhook", "slack_export"))
ENDS = Rule(
    "the sign of the chat's end in Slack",
    allowed=("channel_archive", "gap", "next_conversation", "last_message"),
)

_SHAPES = {"C": Shape.CONVERSATION, "O": Shape.OFFLINE, "T": Shape.TRANSCRIPT}


def _f(
    name: str,
    dtype: Dtype,
    privacy: Privacy,
    meaning: str,
    rule: Rule | None = None,
    *,
    C: str = "",  # noqa: N803  the letters are the catalogue's column heads
    O: str = "",  # noqa: N803, E741
    T: str = "",  # noqa: N803
    required: bool | str = False,
    xdm: str | None = "",
    live: str = "",
    any_scalar: bool = False,
    form: Form | None = None,
    unsent: str | None = None,
) -> Field:
    paths = {_SHAPES[letter]: path for letter, path in (("C", C), ("O", O), ("T", T)) if path}
    return Field(
        name,
        dtype,
        privacy,
        meaning,
        paths,
        rule,
        required is True,
        frozenset(_SHAPES[letter] for letter in required) if isinstance(required, str) else frozenset(),
        xdm if xdm != "" else f"chatlio.{name}",
        frozenset(_SHAPES[letter] for letter in live),
        any_scalar,
        form,
        unsent,
    )


# fmt: off
EVENTS: tuple[Field, ...] = (
    _f("event_id", TEXT, PLAIN, "Id of the event; rereading the event gives the same id", DIGEST, required=True, xdm="_id"),
    _f("kind", TEXT, PLAIN, "Kind of event, after Chatlio's webhooks", KINDS, required=True, xdm="eventType"),
    _f("occurred_at", TIME, PLAIN, "Time of the event, as precisely as known", PAST, required=True, xdm="timestamp"),
    _f("occurred_at_source", TEXT, PLAIN, "Source of occurred_at", SOURCES, required=True),
    _f("received_at", TIME, PLAIN, "Time at which the webhook was captured", PAST),
    _f("widget_id", TEXT, PLAIN, "The chat widget, if the capture names it"),
    _f("conversation_id", TEXT, PSEUDONYM, "Id of the conversation", UUID, C="conversationUUID", T="conversationUUID", live="T"),
    _f("visitor_id", TEXT, PSEUDONYM, "Chatlio's id of the visitor's browser", UUID, C="visitor.UUID", O="visitor.UUID", T="visitor.UUID", required="CO", live="CO"),
    _f("visitor_email", TEXT, PERSONAL, "The visitor's e-mail address, if known", C="visitor.email", O="visitor.email", T="visitorEmail", live="COT", form=EMAIL),
    _f("visitor_name", TEXT, PERSONAL, "The visitor's name; in transcripts a generated handle if no name is known", C="visitor.name", O="visitor.name", T="visitorName", live="OT"),
    _f("user_id", TEXT, PERSONAL, "The visitor's id on the site, always as text", C="visitor.identUserId", O="visitor.identUserId", T="visitor.identUserId", live="O", any_scalar=True),
    _f("visitor_traits", JSON, CONTENT, "Data about the visitor from the site, as JSON text", C="visitor.identTraits", O="visitor.identTraits", T="visitorTraits", live="O"),
    _f("visitor_handle", TEXT, PSEUDONYM, "The nickname that Chatlio generated for the visitor", C="visitor.handle", O="visitor.handle", T="visitor.handle", live="O"),
    _f("user_agent", TEXT, PERSONAL, "The user agent string of the visitor's browser", C="visitor.userAgent", O="visitor.userAgent", T="visitor.userAgent", live="O"),
    _f("page_url", TEXT, PERSONAL, "The page the visitor was on", C="visitor.currentPage", O="visitor.currentPage", T="visitor.currentPage", live="O", form=URL),
    _f("referrer_url", TEXT, PERSONAL, "The page the visitor came from", C="visitor.referrerURL", O="visitor.referrerURL", T="visitor.referrerURL", live="O", form=URL),
    _f("visitor_created_at", TIME, PLAIN, "Time at which Chatlio first saw the visitor", PAST, C="visitor.createdAt", O="visitor.createdAt", T="visitor.createdAt", live="O"),
    _f("ip_address", TEXT, PERSONAL, "The visitor's IP address", IP, C="visitor.IPAddress", O="visitor.IPAddress", T="visitor.IPAddress", live="O"),
    _f("location", TEXT, PERSONAL, "City, region and country of the visitor", C="visitor.location", O="visitor.location", T="visitor.location", form=PLACE),
    _f("message", TEXT, CONTENT, "The text that triggered the event, or the offline message", C="message", O="message", live="CO"),
    _f("contact_name", TEXT, PERSONAL, "The name typed into the offline form", O="name", live="O"),
    _f("contact_email", TEXT, PERSONAL, "The e-mail address typed into the offline form", O="email", live="O", form=EMAIL),
    _f("contact_mailbox", TEXT, PERSONAL, "Name and address from the offline form, as in \"Ana\" <ana@example.org>", O="emailPretty", live="O"),
    _f("subject", TEXT, CONTENT, "The subject of an offline message; older payloads only", O="subject"),
    _f("channel_id", TEXT, PSEUDONYM, "The Slack channel created for this visitor", C="channelId", T="channelId", live="CT"),
    _f("channel_name", TEXT, PSEUDONYM, "The name of the visitor's Slack channel", T="channelName", live="T"),
    _f("slack_channel_id", TEXT, PLAIN, "The shared Slack channel where new chats are announced", C="slackChannelId", live="C"),
    _f("slack_channel_name", TEXT, PLAIN, "The name of that shared channel", C="slackChannelName", live="C"),
    _f("slack_team_id", TEXT, PLAIN, "The Slack workspace; older payloads only", T="slackTeamID"),
    _f("started_at", TIME, PLAIN, "Start of the chat", PAST, T="startedAt", live="T"),
    _f("ended_at", TIME, PLAIN, "End of the chat", PAST, T="endedAt", live="T"),
    _f("agent_email", TEXT, STAFF, "E-mail address of one of the chat's agents", T="agentEmail", live="T", form=EMAIL),
    _f("agent_name", TEXT, STAFF, "Full name of that agent", T="agentName", live="T"),
    _f("reply_to_email", TEXT, PERSONAL, "Address for replies; not always the visitor's", T="replyToEmail", live="T", form=EMAIL),
    _f("archive_url", TEXT, PSEUDONYM, "The Slack permalink of the chat", T="archiveUrl", live="T"),
    _f("command_words", JSON, CONTENT, "The words typed after the Slack command that sent the transcript, as a JSON array", T="extraData"),
    _f("message_count", INTEGER, PLAIN, "Number of messages in the transcript", COUNT),
    _f("message_ts", TEXT, PLAIN, "Messages in the transcript: their ts in the table messages, separated by spaces", xdm=None),
    _f("extra_fields", JSON, CONTENT, "Fields sent by Chatlio that this catalogue does not list, as JSON text"),
    _f("origin", TEXT, PLAIN, "Source of the event: a captured webhook or a Slack export. Only the latter is sent; an event without it comes from a webhook", ORIGINS, required=True, unsent="webhook"),
    _f("ended_by", TEXT, PLAIN, "Sign of the chat's end, for chats from a Slack export", ENDS),
    _f("start_is_whole", FLAG, PLAIN, "True if a chat from a Slack export is known to be complete at its start"),
    _f("payload_digest", TEXT, PLAIN, "SHA-256 of the captured payload", DIGEST, required=True, xdm=None),
    _f("source_file", TEXT, PLAIN, "The file that contains the record", required=True, xdm=None),
    _f("source_record", INTEGER, PLAIN, "Number of the record in that file, from 1", Rule("one or more", minimum=1), required=True, xdm=None),
)

MESSAGES: tuple[Field, ...] = (
    _f("conversation_id", TEXT, PSEUDONYM, "Id of the conversation", UUID, xdm=None),
    _f("ts", TEXT, PLAIN, "Slack's id of the message, as sent by Chatlio", SLACK_TS, T="ts", required=True, xdm="ts"),
    _f("sent_at", TIME, PLAIN, "Time at which the message was sent, to the microsecond: from ts, because Chatlio's sentAt is rounded", PAST, required=True, xdm="sent_at"),
    _f("author", TEXT, PLAIN, "Author of the message: visitor, agent or unknown", AUTHORS, required=True, xdm="author"),
    _f("username", TEXT, PERSONAL, "The name shown next to the message", T="username", xdm="username"),
    _f("slack_user_id", TEXT, STAFF, "Slack user id of the agent; missing for visitors", T="userId", xdm="slack_user_id"),
    _f("text", TEXT, CONTENT, "Text of the message", T="text", xdm="text"),
    _f("slack_text", TEXT, CONTENT, "Text of the message in a Slack export, if it differs", xdm=None),
    _f("position", INTEGER, PLAIN, "Position of the message in the transcript, from 1", Rule("one or more", minimum=1), required=True, xdm=None),
    _f("event_id", TEXT, PLAIN, "Id of the transcript event that contains the message", DIGEST, required=True, xdm=None),
    _f("origin", TEXT, PLAIN, "Source of that transcript", ORIGINS, required=True, xdm=None),
)

CONVERSATIONS: tuple[Field, ...] = (
    _f("conversation_id", TEXT, PSEUDONYM, "Id of the conversation", UUID, required=True, xdm=None),
    _f("started_at", TIME, PLAIN, "Start, from the transcript or else the first event", required=True, xdm=None),
    _f("ended_at", TIME, PLAIN, "End; missing without a transcript", xdm=None),
    _f("duration_seconds", NUMBER, PLAIN, "Seconds from start to end", xdm=None),
    _f("first_response_seconds", NUMBER, PLAIN, "Seconds from the visitor's first message to the agent's first answer", COUNT, xdm=None),
    _f("visitor_id", TEXT, PSEUDONYM, "The visitor, if an event of the conversation names one", UUID, xdm=None),
    _f("page_url", TEXT, PERSONAL, "The page it started on", xdm=None, form=URL),
    _f("channel_id", TEXT, PSEUDONYM, "The Slack channel created for the visitor", xdm=None),
    _f("agent_name", TEXT, STAFF, "The agent named in the most complete transcript", xdm=None),
    _f("agent_email", TEXT, STAFF, "That agent's e-mail address", xdm=None, form=EMAIL),
    _f("answered_by", TEXT, STAFF, "Name shown next to the first message by an agent", xdm=None),
    _f("visitor_messages", INTEGER, PLAIN, "Messages written by the visitor", COUNT, required=True, xdm=None),
    _f("agent_messages", INTEGER, PLAIN, "Messages written by agents", COUNT, required=True, xdm=None),
    _f("unknown_messages", INTEGER, PLAIN, "Messages whose author is unknown", COUNT, required=True, xdm=None),
    _f("transcripts", INTEGER, PLAIN, "Number of its transcripts that were read; the most complete one is shown", COUNT, required=True, xdm=None),
    _f("origin", TEXT, PLAIN, "Source of the transcript shown; missing without a transcript", ORIGINS, xdm=None),
    _f("ended_by", TEXT, PLAIN, "Sign of its end, if that transcript comes from a Slack export", ENDS, xdm=None),
    _f("start_is_whole", FLAG, PLAIN, "True if that transcript is known to be complete at its start", xdm=None),
    _f("was_unanswered", FLAG, PLAIN, "True if Chatlio reported that no agent answered in time; missing if only Slack has the conversation", xdm=None),
    _f("has_feedback", FLAG, PLAIN, "True if the visitor left feedback; missing if only Slack has the conversation", xdm=None),
)

VISITORS: tuple[Field, ...] = (
    _f("visitor_id", TEXT, PSEUDONYM, "Chatlio's id of the visitor's browser", UUID, required=True, xdm=None),
    _f("visitor_email", TEXT, PERSONAL, "Latest known e-mail address", xdm=None, form=EMAIL),
    _f("visitor_name", TEXT, PERSONAL, "Latest known name", xdm=None),
    _f("user_id", TEXT, PERSONAL, "Latest known id of the visitor on the site", xdm=None),
    _f("visitor_traits", JSON, CONTENT, "Latest known traits, as JSON text", xdm=None),
    _f("visitor_handle", TEXT, PSEUDONYM, "Latest nickname generated by Chatlio", xdm=None),
    _f("user_agent", TEXT, PERSONAL, "Latest browser", xdm=None),
    _f("ip_address", TEXT, PERSONAL, "Latest IP address", xdm=None),
    _f("location", TEXT, PERSONAL, "Latest city, region and country", xdm=None, form=PLACE),
    _f("visitor_created_at", TIME, PLAIN, "Time at which Chatlio first saw the visitor", xdm=None),
    _f("first_seen_at", TIME, PLAIN, "The visitor's first event in this export", required=True, xdm=None),
    _f("last_seen_at", TIME, PLAIN, "The visitor's last event in this export", required=True, xdm=None),
    _f("conversations", INTEGER, PLAIN, "Number of conversations with the visitor", COUNT, required=True, xdm=None),
    _f("events", INTEGER, PLAIN, "Number of events that name the visitor", COUNT, required=True, xdm=None),
)

OFFLINE_MESSAGES: tuple[Field, ...] = (
    _f("event_id", TEXT, PLAIN, "Id of the event", DIGEST, required=True, xdm=None),
    _f("occurred_at", TIME, PLAIN, "Time at which it was left", required=True, xdm=None),
    _f("visitor_id", TEXT, PSEUDONYM, "The visitor's browser", UUID, xdm=None),
    _f("contact_name", TEXT, PERSONAL, "The name typed into the form", xdm=None),
    _f("contact_email", TEXT, PERSONAL, "The e-mail address typed into the form", xdm=None, form=EMAIL),
    _f("subject", TEXT, CONTENT, "The subject; older payloads only", xdm=None),
    _f("message", TEXT, CONTENT, "Text of the message", xdm=None),
    _f("page_url", TEXT, PERSONAL, "The page it was left on", xdm=None, form=URL),
)
# fmt: on

TABLES: dict[str, tuple[Field, ...]] = {
    "events": EVENTS,
    "conversations": CONVERSATIONS,
    "messages": MESSAGES,
    "visitors": VISITORS,
    "offline_messages": OFFLINE_MESSAGES,
}

KEYS: dict[str, tuple[str, ...]] = {
    "events": ("event_id",),
    "conversations": ("conversation_id",),
    "messages": ("conversation_id", "ts"),
    "visitors": ("visitor_id",),
    "offline_messages": ("event_id",),
}

# Known but not stored: textBody and htmlBody repeat the messages, contain untrusted markup and push a record
# past Profile's size limit; sentAt is ts rounded; isVisitorMsg becomes author.
LEFT_BEHIND: dict[Shape, frozenset[str]] = {
    Shape.TRANSCRIPT: frozenset({"messages", "textBody", "htmlBody"}),
    Shape.OFFLINE: frozenset(),
    Shape.CONVERSATION: frozenset(),
}
LEFT_BEHIND_IN_MESSAGES = frozenset({"sentAt", "isVisitorMsg"})

MESSAGES_KEY = "chat_messages"
"""The wire key and XDM leaf for a transcript's messages."""


def fields_of(shape: Shape) -> Iterator[Field]:
    """Return the event fields that a payload shape can have, in catalogue order."""
    return (column for column in EVENTS if shape in column.paths)


def sent_fields() -> Iterator[Field]:
    """Return the event fields that are sent to Experience Platform, in catalogue order."""
    return (column for column in EVENTS if column.xdm is not None)


def nested_fields() -> Iterator[Field]:
    """Return the message fields that are sent within their transcript, in catalogue order."""
    return (column for column in MESSAGES if column.xdm is not None)
