"""The data dictionary: what each column of a table means, out of the catalogue."""

from __future__ import annotations

import pandas as pd

from chatlio_kit.chatlio.catalogue import TABLES, Field
from chatlio_kit.errors import UsageError

COLUMNS = ("column", "holds", "meaning", "about a person", "needed", "sent as")


def dictionary(table: str) -> pd.DataFrame:
    """Describe the columns of a table.

    Returns:
        A row for each column: what it holds, what it means, how much it says about a person, whether every
        row has it, and the name under which it is sent to Experience Platform, if it is.

    Raises:
        UsageError: when there is no such table.
    """
    if table not in TABLES:
        raise UsageError(f"There is no table called {table!r}. The tables are {', '.join(TABLES)}.")
    rows = [_row(field) for field in TABLES[table]]
    return pd.DataFrame(rows, columns=list(COLUMNS)).set_index("column")


def _row(field: Field) -> tuple[str, ...]:
    needed = "always" if field.required else "by some kinds" if field.required_in else ""
    return field.name, str(field.dtype), field.meaning, str(field.privacy), needed, field.xdm or ""
