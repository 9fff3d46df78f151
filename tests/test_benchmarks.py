"""The benchmark of convert compares equal work."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from convert_ratios import SCRIPT, command, differences

from chatlio_kit.samples import write_sample
from chatlio_kit.tables import Export, ReadOptions
from chatlio_kit.tables.convert import convert


def test_the_duckdb_script_writes_our_tables(tmp_path: Path) -> None:
    """The script has our rows, and our values in every column that it fills."""
    sample, ours, other = tmp_path / "sample", tmp_path / "ours", tmp_path / "other"
    other.mkdir()
    write_sample(sample, events=600)
    converted = convert(Export([sample], ReadOptions()), ours, quiet=True)
    assert all(converted.rows.values())
    subprocess.run(command(SCRIPT, sample, other), check=True)
    assert not any(differences(ours, other).values())
    path = other / "messages.parquet"
    messages = pq.read_table(path)
    upper = pc.utf8_upper(messages["text"])
    pq.write_table(messages.set_column(messages.column_names.index("text"), "text", upper), path)
    assert differences(ours, other)["messages"] > messages.num_rows
