"""Search, filter and read the chats in a set of tables."""

from chatlio_kit.tables.explorer.corpus import Corpus, Filters, Ledgered, Status, a_run
from chatlio_kit.tables.explorer.explorer import ROWS, ROWS_OF_A_FILE, Explorer, find

__all__ = ["ROWS", "ROWS_OF_A_FILE", "Corpus", "Explorer", "Filters", "Ledgered", "Status", "a_run", "find"]
