"""Validation of frames that a user may have edited, before they are sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from chatlio_kit.captures import RawBatch
from chatlio_kit.chatlio.rejections import Rejection
from chatlio_kit.counting import counted
from chatlio_kit.errors import FrameError
from chatlio_kit.tables.arrow import nest
from chatlio_kit.tables.validate.event_batch import EventBatch
from chatlio_kit.tables.validate.schemas import Failure, arrow_rows, failures


def revalidate(events: pd.DataFrame, messages: pd.DataFrame) -> EventBatch:
    """Validate frames that are about to be sent; reject rows that break a rule, and keep the rest.

    Args:
        events: One row for each event.
        messages: The table ``messages``, with each message once.

    Raises:
        FrameError: A frame no longer has its columns and dtypes, or holds an event twice.
    """
    events, messages = events.reset_index(drop=True), messages.reset_index(drop=True)
    event_failures, message_failures = failures("events", events), failures("messages", messages)
    repeated = events["event_id"][events["event_id"].duplicated()]
    if len(repeated):
        raise FrameError(
            f"The frame events repeats {counted(len(repeated), 'event id')}, such as "
            f"{repeated.iat[0]}. Drop the repeated rows."
        )
    unfolded, positions = unfold(events, messages)
    rejected: dict[int, Rejection] = {}
    for failure in event_failures:
        rejected.setdefault(failure.row, _rejection(events, failure.row, failure))
    faulty = {failure.row: failure for failure in reversed(message_failures)}
    row_of = {event_id: row for row, event_id in enumerate(events["event_id"])}
    owners = np.array([row_of[event_id] for event_id in unfolded["event_id"]], dtype=np.int64)
    for owner, position in zip(owners.tolist(), positions, strict=True):
        if position in faulty:
            rejected.setdefault(owner, _rejection(events, owner, faulty[position]))
    kept = [row for row in range(len(events)) if row not in rejected]
    by_owner = np.argsort(owners, kind="stable")
    rows = nest(
        arrow_rows(events, "events"),
        arrow_rows(unfolded.take(by_owner), "messages"),
        np.bincount(owners, minlength=len(events)),
    )
    return EventBatch(rows, [], RawBatch(), np.arange(len(events))).keep(kept, rejected.values())


def unfold(events: pd.DataFrame, messages: pd.DataFrame) -> tuple[pd.DataFrame, Sequence[int]]:
    """Return the messages of each transcript, using its ``message_ts`` and a table with each message once.

    Args:
        events: One row for each event.
        messages: The table ``messages``; rows that no event names are left out.

    Returns:
        A row for each message of each transcript, in order, with the transcript's ``event_id``; and the row
        of ``messages`` that each was taken from.
    """
    named = events.loc[events["message_ts"].notna(), ["event_id", "conversation_id", "message_ts"]]
    wanted = pd.DataFrame(
        {
            "event_id": named["event_id"],
            "_owner": named["conversation_id"].fillna(named["event_id"]),
            "ts": named["message_ts"].str.split(" "),
        }
    )
    wanted = wanted.explode("ts").astype({"ts": "str"})
    known = messages.assign(
        _owner=messages["conversation_id"].fillna(messages["event_id"]), _place=range(len(messages))
    )
    found = wanted.merge(known.drop(columns="event_id"), on=["_owner", "ts"], how="inner")
    return found[list(messages.columns)], found["_place"].tolist()


def _rejection(events: pd.DataFrame, row: int, failure: Failure) -> Rejection:
    place = events.loc[row, ["source_file", "source_record"]].to_dict()
    file, record = place["source_file"], place["source_record"]
    return Rejection(
        file if isinstance(file, str) else "",
        record if isinstance(record, int) else 0,
        failure.reason,
        failure.column,
        failure.sentence(failure.column),
        "",
    )
