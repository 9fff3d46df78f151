"""Open an explorer over tables, with the status of each event from a ledger."""

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
    """Return a page for searching, filtering and reading conversations, with the status of each event.

    It displays itself in a notebook; ``.save("chats.html")`` writes it to a file that works offline. A folder
    of any size may be named, because only the page's contents are loaded.

    Args:
        tables: Tables, or a folder that ``convert`` wrote.
        state: The state folder whose ledger has the status of each event; without a ledger, the page
            shows what was accepted and what was rejected.
        query: Only conversations in which all these words occur.
        since: Only conversations from this day or RFC 3339 time on, UTC.
        until: Only conversations before this day or time.
        limit: Maximum number of messages and events on the page; the latest are kept. Rejected records may be
            a quarter as many.

    Raises:
        UsageError: The folder holds no tables, or a time cannot be read.
        FrameError: A frame lacks a column, or has other types.
        CaptureError: A file in the folder cannot be read.
        LedgerError: There is a ledger that cannot be used.
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
