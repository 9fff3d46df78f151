"""The exercises of the guided notebooks: each answer is computed from the reader's own data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import pandas as pd

from chatlio_kit.analysis.identity_audit import audit_identities
from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection import plan_connection
from chatlio_kit.display.notice import Notice
from chatlio_kit.display.palette import GREEN, ORANGE
from chatlio_kit.errors import ChatlioKitError
from chatlio_kit.tables import Export, ReadOptions

_TOLERANCE = 0.0006  # half a unit in the third digit of a share
Answer = Callable[[Any], Any]
"""A function that computes the right answer from the question's object; a set holds several."""


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes:
        answer: Computes the right answer.
        mistakes: Functions that compute likely wrong answers, each with an explanation.
    """

    answer: Answer
    mistakes: Sequence[tuple[Answer, str]] = ()

    def check(self, given: object, about: Any) -> Notice:
        """Return whether an answer is right, and if not, the reason.

        Args:
            given: The reader's answer.
            about: The object that the question is about.
        """
        if given is ... or given is None:
            return _not_yet("Put your answer in the place of the three dots, and run the cell again.")
        try:
            value = _single(given)
            right = self.answer(about)
        except _NotOneValue as error:
            return _not_yet(str(error))
        except (AttributeError, KeyError, TypeError, ChatlioKitError):
            return _not_yet("The last argument is not what the question is about. Run the cells above again.")
        if _agrees(value, right):
            return Notice("Right", "That is what the data says.", GREEN)
        for mistake, reason in self.mistakes:
            if _agrees(value, mistake(about)):
                return _not_yet(reason)
        return _not_yet(_difference(value, next(iter(right)) if isinstance(right, set) and right else right))


class _NotOneValue(Exception):
    """An error for an answer that is not a single value."""


def _not_yet(reason: str) -> Notice:
    return Notice("Not yet", reason, ORANGE)


def _single(given: object) -> object:
    """Return the only value of an answer, which may be in a frame or a series."""
    if isinstance(given, pd.DataFrame | pd.Series | pd.Index):
        if given.size != 1:
            raise _NotOneValue(f"This has {given.size:,} values. The question asks for one.")
        return given.to_numpy().ravel()[0]
    if callable(given):
        raise _NotOneValue("This is a function. Call it: the parentheses are missing.")
    return given


def _agrees(given: object, right: object) -> bool:
    if isinstance(right, set):
        return any(_agrees(given, one) for one in right)
    if isinstance(right, str):
        return isinstance(given, str) and _folded(given) == _folded(right)
    if isinstance(right, Real) and isinstance(given, Real):
        return math.isclose(float(given), float(right), rel_tol=1e-3, abs_tol=_TOLERANCE)
    return False


def _folded(text: str) -> str:
    return " ".join(text.replace("_", " ").casefold().split())


def _difference(given: object, right: object) -> str:
    """Describe how an answer differs, without revealing the right one."""
    if isinstance(right, Real):
        if not isinstance(given, Real):
            return "The question asks for a number."
        return f"{float(given):,.6g} is too {'high' if float(given) > float(right) else 'low'}."
    if not isinstance(given, str):
        return "The question asks for a name, as text."
    return f"It is not {given!r}."


def _most(numbers: pd.Series[Any]) -> set[Any]:
    """Return the names with the highest value; several may share it."""
    return set(numbers.index[numbers == numbers.max()])


def _least(numbers: pd.Series[Any]) -> set[Any]:
    return set(numbers.index[numbers == numbers.min()])


def _still_rejected(export: Export) -> int:
    """Return the number of records that stay rejected if files' times date the undated ones."""
    options = ReadOptions(
        export.options.kind, ReadOptions.from_options(None, "file-time").undated_as, export.options.fields
    )
    return Export(export.captures, options).to_tables(quiet=True).counts.rejected


def _objects_of_a_webhook(plan: Any) -> int:
    """Return how many objects a plan has for each webhook: those that are there once for each dataflow."""
    numbers = Counter(planned.object for planned in plan.objects)
    return sum(number == numbers["dataflow"] for number in numbers.values())


def _transcripts_without_identity(audit: Any) -> float:
    transcripts, identified = (
        int(counts.get(Kind.TRANSCRIPT, 0)) for counts in (audit.events, audit.identified)
    )
    return 1 - identified / max(1, transcripts)


def _coverage_of_user_id(tables: Any) -> float:
    return audit_identities(tables, "user_id=CustomerId").coverage


def _chats(measured: Any, column: str) -> int:
    return int(measured.frame("conversations", "all")[column].iloc[0])


def _conversations_with(rows: pd.DataFrame, kind: Kind) -> set[str]:
    return set(rows.loc[rows["kind"] == kind, "conversation_id"].dropna())


def _started_and_transcribed(rows: pd.DataFrame) -> int:
    return len(
        _conversations_with(rows, Kind.CONVERSATION_STARTED) & _conversations_with(rows, Kind.TRANSCRIPT)
    )


def _months_of_offline_messages(rows: pd.DataFrame) -> set[str]:
    times = rows.loc[rows["kind"] == Kind.OFFLINE_MESSAGE, "occurred_at"]
    return _most(times.dt.strftime("%Y-%m").value_counts())


def _largest_difference(both: tuple[pd.DataFrame, pd.DataFrame]) -> float:
    """Return the largest difference in microseconds between an event's times in two frames."""
    sent, back = (frame.drop_duplicates("event_id").set_index("event_id")["occurred_at"] for frame in both)
    return float((sent - back).abs().max() / pd.Timedelta(microseconds=1))


def _months_from_slack(tables: Any) -> int:
    conversations = tables.conversations
    started = conversations.loc[conversations["origin"] == "slack_export", "started_at"]
    return int(started.dt.strftime("%Y-%m").nunique())


EXERCISES: dict[str, tuple[Exercise, Exercise, Exercise]] = {
    "start": (
        Exercise(
            lambda tables: int((tables.visitors["conversations"] > 1).sum()),
            [
                (
                    lambda tables: len(tables.visitors),
                    "This counts every visitor. Keep those with more than one conversation.",
                )
            ],
        ),
        Exercise(lambda tables: _most(tables.conversations["agent_name"].value_counts())),
        Exercise(
            lambda tables: int((tables.conversations["agent_messages"] > 0).sum()),
            [
                (
                    lambda tables: len(tables.conversations),
                    "This counts every conversation, answered or not.",
                ),
                (
                    lambda tables: int(tables.conversations["agent_messages"].sum()),
                    "This adds up messages. Count the conversations that have at least one.",
                ),
            ],
        ),
    ),
    "connect": (
        Exercise(
            lambda platform: (
                plan_connection(platform, "shop", webhooks=["transcript", "feedback"], quiet=True).changes
            ),
            [
                (
                    lambda platform: plan_connection(platform, "shop", quiet=True).changes,
                    "This is the plan for all five webhooks. Name the two that the shop wants.",
                )
            ],
        ),
        Exercise(
            lambda checks: sum(check.verdict == "pass" for check in checks.checks),
            [(lambda checks: len(checks.checks), "This counts all checks. Count those that passed.")],
        ),
        Exercise(
            _objects_of_a_webhook,
            [
                (lambda plan: len(plan.objects), "This counts all objects. Count those of one webhook."),
                (
                    lambda plan: len({planned.object for planned in plan.objects}),
                    "This counts every sort of object. Some exist once for all webhooks.",
                ),
            ],
        ),
    ),
    "convert": (
        Exercise(
            lambda tables: int(tables.messages["text"].str.contains("script", case=False, na=False).sum()),
            [(lambda tables: len(tables.messages), "This counts every message.")],
        ),
        Exercise(
            lambda measured: _most(measured.frame("conversations", "month")["number"]),
            [
                (
                    lambda measured: int(measured.frame("conversations", "month")["number"].max()),
                    "This is how many there were. The question asks for the month.",
                )
            ],
        ),
        Exercise(
            _still_rejected,
            [
                (
                    lambda export: export.to_tables(quiet=True).counts.rejected,
                    "This is the count from before. Read the export again, with undated_as.",
                )
            ],
        ),
    ),
    "stream": (
        Exercise(
            lambda tables: int((tables.events["kind"] != Kind.FEEDBACK).sum()),
            [
                (
                    lambda tables: int((tables.events["kind"] == Kind.FEEDBACK).sum()),
                    "This counts the feedback. Count what is left without it.",
                )
            ],
        ),
        Exercise(
            lambda tables: max(0, len(tables.events.head(3)) - 1),
            [
                (
                    lambda tables: len(tables.events.head(3)),
                    "The first event has no valid kind. It is rejected, so it is no duplicate.",
                )
            ],
        ),
        Exercise(
            lambda letters: int(letters["source_file"].nunique()),
            [(len, "This counts the dead letters. Several can come from one file.")],
        ),
    ),
    "verify": (
        Exercise(_months_of_offline_messages),
        Exercise(_largest_difference),
        Exercise(
            _started_and_transcribed,
            [
                (
                    lambda rows: len(
                        _conversations_with(rows, Kind.CONVERSATION_STARTED)
                        | _conversations_with(rows, Kind.TRANSCRIPT)
                    ),
                    "This counts conversations that have one or the other.",
                )
            ],
        ),
    ),
    "slack": (
        Exercise(
            _months_from_slack,
            [
                (
                    lambda tables: int(tables.conversations["started_at"].dt.strftime("%Y-%m").nunique()),
                    "This counts every month. Keep the conversations that come from Slack.",
                )
            ],
        ),
        Exercise(lambda tables: _most(tables.messages["author"].value_counts())),
        Exercise(
            lambda tables: int((tables.messages["origin"] == "slack_export").sum()),
            [(lambda tables: len(tables.messages), "This counts the webhooks' messages, too.")],
        ),
    ),
    "people": (
        Exercise(
            _coverage_of_user_id,
            [(lambda tables: 100 * _coverage_of_user_id(tables), "Give a share, from 0 to 1.")],
        ),
        Exercise(
            lambda tables: int(tables.visitors["visitor_email"].notna().sum()),
            [(lambda tables: len(tables.visitors), "This counts every visitor. Many have no address.")],
        ),
        Exercise(
            _transcripts_without_identity,
            [
                (lambda audit: 100 * _transcripts_without_identity(audit), "Give a share, from 0 to 1."),
                (
                    lambda audit: 1 - _transcripts_without_identity(audit),
                    "This is the share of transcripts with an identity.",
                ),
            ],
        ),
    ),
    "answers": (
        Exercise(lambda measured: _most(measured.frame("missed", "quarter")["share"])),
        Exercise(lambda measured: _least(measured.frame("reply_time", "agent")["median"])),
        Exercise(
            lambda measured: _chats(measured, "number") - _chats(measured, "business_number"),
            [(lambda measured: _chats(measured, "business_number"), "These started while you were open.")],
        ),
    ),
}
"""The three exercises of each lesson, in the order of its notebook."""
