"""The five validated frames of an export, and its rejections."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from chatlio_kit.arguments import checked, flag, named, optional, path_ending_in, text, whole_number
from chatlio_kit.chatlio.catalogue import TABLES, Field
from chatlio_kit.chatlio.labels import label_of
from chatlio_kit.chatlio.rejections import Rejection
from chatlio_kit.chatlio.slack_text import decode_all
from chatlio_kit.display import Sheet
from chatlio_kit.display.workbook import write_workbook
from chatlio_kit.errors import FrameError, UsageError
from chatlio_kit.slack import SlackCounts
from chatlio_kit.tables.explorer import ROWS, Corpus, Explorer, Filters, Ledgered, a_run, find
from chatlio_kit.tables.findings import FieldFindings, RecordCounts
from chatlio_kit.tables.next_steps import NextSteps
from chatlio_kit.tables.output import write_whole
from chatlio_kit.tables.transcripts import Transcript

if TYPE_CHECKING:
    from chatlio_kit.display.figure import Picture

_REJECTED_COLUMNS = tuple(column.name for column in fields(Rejection))
_DICTIONARY_COLUMNS = ("column", "holds", "meaning", "about a person", "needed", "sent as", "label")


@dataclass(repr=False)
class Tables:
    """An export as frames. These frames are what is sent.

    Attributes:
        events: One row for each event, whatever its kind.
        conversations: One row for each conversation, from its events and its fullest transcript.
        messages: One row for each message of each conversation.
        visitors: One row for each visitor, with the latest known facts.
        offline_messages: One row for each offline message.
        rejections: The records that were not accepted.
        counts: Numbers of records read, by outcome.
        notes: Sentences about files without records, and about findings besides events.
        findings: Findings besides events: undocumented fields, redacted values.
        next_steps: Options that settle rejected records, by reason, tried on such records.
        slack: Outcomes of a Slack export's messages and conversations, if one was read.
    """

    events: pd.DataFrame
    conversations: pd.DataFrame
    messages: pd.DataFrame
    visitors: pd.DataFrame
    offline_messages: pd.DataFrame
    rejections: list[Rejection]
    counts: RecordCounts
    notes: list[str]
    findings: FieldFindings = field(default_factory=FieldFindings)
    next_steps: NextSteps = field(default_factory=NextSteps)
    slack: SlackCounts | None = None

    def __setattr__(self, name: str, value: object) -> None:
        if name in TABLES and not isinstance(value, pd.DataFrame):
            raise FrameError(
                f"tables.{name} is a pandas frame, not {named(value)}. Assign a frame with the columns that "
                "to_tables() returns."
            )
        super().__setattr__(name, value)

    @property
    def rejected(self) -> pd.DataFrame:
        """One row for each record that was not accepted, with file, record, reason, field, detail and raw."""
        frame = pd.DataFrame(
            [asdict(rejection) for rejection in self.rejections], columns=list(_REJECTED_COLUMNS)
        )
        texts = {name: "str" for name in _REJECTED_COLUMNS if name != "record"}
        return frame.astype({**texts, "record": "Int64"})

    @checked(decode=flag)
    def frames(self, *, time_zone: str | None = None, decode: bool = False) -> dict[str, pd.DataFrame]:
        """Return the five frames by name.

        Frames in another time zone or with decoded text are for reading; the data sent stays the same.

        Args:
            time_zone: IANA name of the zone in which times are shown, such as ``"Europe/Berlin"``; UTC by
                default.
            decode: If true, decode messages from Slack's escapes. The column ``raw_text`` then keeps what
                Chatlio sent.
        """
        frames: dict[str, pd.DataFrame] = {name: getattr(self, name) for name in TABLES}
        if time_zone is not None:
            for name, frame in frames.items():
                times = frame.select_dtypes("datetimetz")
                frames[name] = frame.assign(
                    **{str(column): times[column].dt.tz_convert(time_zone) for column in times}
                )
        if decode:
            messages = frames["messages"]
            frames["messages"] = messages.assign(text=decode_all(messages["text"]), raw_text=messages["text"])
        return frames

    @checked()
    def to_excel(self, path: Path | str, *, time_zone: str | None = None) -> Path:
        """Write the five tables and the rejections to an Excel workbook, one sheet for each.

        Strings stay strings: none becomes a formula or a link. Messages are decoded, with the raw text next
        to them. Rows beyond the size of a sheet continue on another.

        Args:
            path: The workbook; an existing one is replaced.
            time_zone: The zone in which times are shown; UTC by default.

        Returns:
            The path.

        Raises:
            UsageError: The path does not end in .xlsx, so it may be a file of another type.
            OutputError: The workbook cannot be written.
        """
        path = path_ending_in(".xlsx", "path", path)
        sheets = {**self.frames(time_zone=time_zone, decode=True), "rejected": self.rejected}
        write_whole(path, lambda draft: write_workbook(draft, sheets))
        return path

    @checked()
    def read_conversation(
        self, conversation_id: str | None = None, *, time_zone: str | None = None
    ) -> Transcript:
        """Return one conversation for reading.

        Args:
            conversation_id: Its id; by default the conversation with the most messages.
            time_zone: The zone in which its start is shown; UTC by default.

        Raises:
            UsageError: There is no such conversation.
        """
        if conversation_id is None:
            if self.conversations.empty:
                return Transcript("", "These tables hold no conversations.", (), ())
            sizes = self.conversations["visitor_messages"] + self.conversations["agent_messages"]
            conversation_id = str(self.conversations["conversation_id"].iat[int(sizes.argmax())])
        rows = self.conversations[self.conversations["conversation_id"] == conversation_id]
        if rows.empty:
            raise UsageError(
                f"There is no conversation {conversation_id!r}. The table conversations lists all of them."
            )
        messages = self.messages[self.messages["conversation_id"] == conversation_id]
        return Transcript.of(rows.iloc[0], messages, time_zone or "UTC")

    @checked(run=a_run, query=text, since=optional(text), until=optional(text), limit=whole_number(1))
    def explore(
        self,
        run: Ledgered | None = None,
        *,
        query: str = "",
        since: str | None = None,
        until: str | None = None,
        limit: int = ROWS,
    ) -> Explorer:
        """Return a page for searching, filtering and reading conversations.

        It displays itself in a notebook; ``explore().save("chats.html")`` writes it to a file that works
        offline. :func:`chatlio_kit.explore` reads the status of each event from a state folder's ledger.

        Args:
            run: The result of :func:`chatlio_kit.stream`, to show the status of each event.
            query: Only conversations in which all these words occur.
            since: Only conversations from this day or RFC 3339 time on, UTC.
            until: Only conversations before this day or time.
            limit: Maximum number of messages and events on the page; the latest are kept. Rejected records
                may be a quarter as many.

        Raises:
            UsageError: A time cannot be read.
            FrameError: A frame lacks a column, or has other types.
        """
        filters = Filters.of(query, since, until)
        with Corpus.of_frames(self.frames(), self.rejections, run) as corpus:
            return Explorer.of(corpus, filters, limit)

    @checked(run=a_run, query=text, since=optional(text), until=optional(text))
    def search(
        self, query: str, run: Ledgered | None = None, *, since: str | None = None, until: str | None = None
    ) -> pd.DataFrame:
        """Search everything in the tables, as :meth:`explore` does.

        Args:
            query: Words that must all occur in a conversation, anywhere and in any case.
            run: As in :meth:`explore`.
            since: As in :meth:`explore`.
            until: As in :meth:`explore`.

        Returns:
            A row for each conversation, event outside any conversation and rejected record: ``type``, ``id``,
            ``started_at``, ``visitor``, ``visitor_email``, ``agent``, ``page_url``, ``messages`` (their
            number), ``status``, and ``match``, the beginning of the first text with one of the words. The
            latest come first, rejected records last.
        """
        with Corpus.of_frames(self.frames(), self.rejections, run) as corpus:
            return find(corpus, Filters.of(query, since, until))

    @checked(table=text)
    def dictionary(self, table: str) -> pd.DataFrame:
        """Return the data dictionary of a table.

        Returns:
            A row for each column: its type, meaning and privacy class, whether every row has a value, its
            name in Experience Platform if it is sent, and the data usage label that it should have there.

        Raises:
            UsageError: There is no such table.
        """
        if table not in TABLES:
            raise UsageError(f"There is no table called {table!r}. The tables are {', '.join(TABLES)}.")
        rows = [_dictionary_row(column) for column in TABLES[table]]
        return pd.DataFrame(rows, columns=list(_DICTIONARY_COLUMNS)).set_index("column")

    def picture(self) -> Picture:
        """Draw the outcomes of the records, from reading to tables."""
        from chatlio_kit.tables.diagram import draw  # noqa: PLC0415 - matplotlib takes half a second to load

        return draw(self.counts, {name: len(rows) for name, rows in self.frames().items()})

    def summary(self) -> Sheet:
        """Return the counts of records and of rows."""
        rows = ", ".join(f"{name} {len(rows):,}" for name, rows in self.frames().items())
        return self.counts.sheet("Converted", [f"rows: {rows}", *self.notes])

    def __repr__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()


def _dictionary_row(column: Field) -> tuple[str, ...]:
    needed = "always" if column.required else "by some kinds" if column.required_in else ""
    label = (label_of(column) or "") if column.xdm else ""
    return (
        column.name,
        str(column.dtype),
        column.meaning,
        str(column.privacy),
        needed,
        column.xdm or "",
        label,
    )
