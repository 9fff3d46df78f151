"""Open an explorer over tables, with what became of each event from a ledger."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from chatlio_kit.arguments import checked, optional, place, text, whole_number, wrong
from chatlio_kit.delivery import Ledger
from chatlio_kit.delivery.ledger.ledger import FILE as LEDGER
from chatlio_kit.delivery.ledger.lookup import LedgerStatuses
from chatlio_kit.settings import DEFAULT_STATE
from chatlio_kit.tables import Tables
from chatlio_kit.tables.explorer import ROWS, Corpus, Explorer, Filters


@checked(state=place, query=text, since=optional(text), until=optional(text), limit=whole_number(1))
def explore(
    tables: Tables | Path | str,
    *,
    state: Path | str = DEFAULT_STATE,
    query: str = "",
    since: str | None = None,
    until: str | None = None,
    limit: int = ROWS,
) -> Explorer:
    """Return a page on which conversations are searched, filtered and read, with what became of each.

    It shows itself in a notebook; ``.save("chats.html")`` writes it as a file that works offline. A folder of
    any size may be named: only what the page holds is loaded.

    Args:
        tables: tables, or a folder that ``convert`` wrote.
        state: the state folder whose ledger says what became of each event; without a ledger, the page shows
            what was accepted and what was rejected.
        query: only conversations in which all these words occur.
        since: only conversations from this day or RFC 3339 time on, UTC.
        until: only conversations before this day or time.
        limit: how many messages and events the page may hold, the latest, and a quarter as many rejected
            records.

    Raises:
        UsageError: when the folder holds no tables, or a time cannot be read.
        FrameError: when a frame lacks a column, or holds other types.
        CaptureError: when a file of the folder cannot be read.
        LedgerError: when there is a ledger that cannot be used.
    """
    filters = Filters.of(query, since, until)
    with ExitStack() as opened:
        ledger = None
        if (Path(state) / LEDGER).exists():
            ledger = LedgerStatuses(opened.enter_context(Ledger(Path(state))))
        if isinstance(tables, Tables):
            corpus = Corpus.of_frames(tables.frames(), tables.rejections, ledger)
        elif isinstance(tables, Path | str):
            corpus = Corpus.of_folder(Path(tables), ledger)
        else:
            raise wrong("tables", "tables, or a folder that convert wrote", tables)
        return Explorer.of(opened.enter_context(corpus), filters, limit)
