"""The five validated frames of an export, and what was rejected on the way."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields

import pandas as pd

from chatlio_kit.arguments import checked, named, text
from chatlio_kit.chatlio.catalogue import TABLES, Field
from chatlio_kit.chatlio.rejections import Rejection
from chatlio_kit.display import Sheet
from chatlio_kit.errors import FrameError, UsageError
from chatlio_kit.slack import SlackCounts
from chatlio_kit.tables.findings import FieldFindings, RecordCounts
from chatlio_kit.tables.next_steps import NextSteps
from chatlio_kit.tables.transcripts import Transcript

_REJECTED_COLUMNS = tuple(column.name for column in fields(Rejection))
_DICTIONARY_COLUMNS = ("column", "holds", "meaning", "about a person", "needed", "sent as")


@dataclass(repr=False)
class Tables:
    """An export as frames. These frames are what is sent.

    Attributes:
        events: one row for each event, whatever its kind.
        conversations: one row for each conversation, from its events and its fullest transcript.
        messages: one row for each message of each conversation.
        visitors: one row for each visitor, with the latest known facts.
        offline_messages: one row for each message left while nobody was there.
        rejections: the records that were not accepted.
        counts: how many records were read and what became of them.
        notes: sentences about files without records, and about what was found besides events.
        findings: what was found besides events: fields that nobody documented, redacted values.
        next_steps: for each reason of rejection the options that settle it, tried on rejected records.
        slack: what became of a Slack export's messages and conversations, if one was read.
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
                "to_tables() gives it."
            )
        super().__setattr__(name, value)

    @property
    def rejected(self) -> pd.DataFrame:
        """One row for each record that was not accepted: file, record, reason, field, detail, raw."""
        frame = pd.DataFrame(
            [asdict(rejection) for rejection in self.rejections], columns=list(_REJECTED_COLUMNS)
        )
        texts = {name: "str" for name in _REJECTED_COLUMNS if name != "record"}
        return frame.astype({**texts, "record": "Int64"})

    def frames(self) -> dict[str, pd.DataFrame]:
        """Return the five frames by name."""
        return {name: getattr(self, name) for name in TABLES}

    @checked()
    def read_conversation(self, conversation_id: str | None = None) -> Transcript:
        """Return one conversation as people read it.

        Args:
            conversation_id: which; by default the one with the most messages.

        Raises:
            UsageError: when there is no such conversation.
        """
        if conversation_id is None:
            if self.conversations.empty:
                return Transcript("", "These tables hold no conversation.", (), ())
            sizes = self.conversations["visitor_messages"] + self.conversations["agent_messages"]
            conversation_id = str(self.conversations["conversation_id"].iat[int(sizes.argmax())])
        rows = self.conversations[self.conversations["conversation_id"] == conversation_id]
        if rows.empty:
            raise UsageError(
                f"There is no conversation {conversation_id!r}. The table conversations lists all of them."
            )
        messages = self.messages[self.messages["conversation_id"] == conversation_id]
        return Transcript.of(rows.iloc[0], messages)

    @checked(table=text)
    def dictionary(self, table: str) -> pd.DataFrame:
        """Return the data dictionary of a table.

        Returns:
            A row for each column: its type, its meaning, its privacy class, whether every row has it, and
            its name in Experience Platform if it is sent.

        Raises:
            UsageError: when there is no such table.
        """
        if table not in TABLES:
            raise UsageError(f"There is no table called {table!r}. The tables are {', '.join(TABLES)}.")
        rows = [_dictionary_row(column) for column in TABLES[table]]
        return pd.DataFrame(rows, columns=list(_DICTIONARY_COLUMNS)).set_index("column")

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
    return column.name, str(column.dtype), column.meaning, str(column.privacy), needed, column.xdm or ""
