"""The store: files on disk stay intact while other processes read them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from chatlio_kit.local_platform.store import DATABASE, Store

_LOOK = (
    "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT 1 FROM token'); db.close()"
)


def test_a_reader_in_another_process_keeps_the_journal(tmp_path: Path) -> None:
    """A process that opens and closes the file while the server has it does not take its journal away."""
    stores = [Store(tmp_path) for _ in range(3)]
    stores[0].keep_token("before", 1.0)
    subprocess.run([sys.executable, "-c", _LOOK, str(tmp_path / DATABASE)], check=True)
    assert (tmp_path / f"{DATABASE}-wal").exists()
    for number, store in enumerate(stores):
        store.keep_token(f"after {number}", 1.0)
    for store in stores:
        store.close()
    again = Store(tmp_path)
    assert all(again.token_expiry(token) for token in ("before", "after 0", "after 1", "after 2"))
    again.close()
