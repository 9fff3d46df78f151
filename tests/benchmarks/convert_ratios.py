"""Cost of ``chatlio-kit convert`` relative to a plain DuckDB script, to a floor and to parsers.

    python tests/benchmarks/convert_ratios.py [--events 600000 --events 60000] [--only chatlio] [--rounds 3]

The ways take turns, for several rounds: the speed of a machine varies.

- The floor reads, unpacks, splits and decodes, and computes two digests per record, on one core. Any Python
  program that identifies events and compares payloads pays for this.
- The DuckDB script (duckdb_script.py) writes the same five tables, with all memory and with a limit. Its
  docstring lists what it leaves out. Its tables are compared with ours, value by value.
- The other ways only parse.

Prints for each way: CPU seconds of the process tree, as the median and the range of the rounds; elapsed
seconds; peak memory; and the ratio of ours to it, in CPU and elapsed seconds. A peer that is not installed
prints "not run"; a failed one prints its error. An asterisk marks runs without bytecode: each process
compiles modules that an installed package ships compiled.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import duckdb
from process_tree import Cost, measure

from chatlio_kit.chatlio.catalogue import TABLES

_LINES = """
    import gzip, sys
    from pathlib import Path
    files = sorted(Path(sys.argv[1]).rglob("*.ndjson*"))
    opened = lambda path: gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
"""
FLOOR, SCRIPT, OURS = "the floor", "DuckDB script", "chatlio-kit convert"
LIMIT = "1GB"
_OURS = [sys.executable, "-m", "chatlio_kit"]
_SCRIPT = str(Path(__file__).with_name("duckdb_script.py"))
_CODE = {
    FLOOR: """
    import gzip, sys
    from hashlib import sha256
    from pathlib import Path
    from orjson import loads
    for path in Path(sys.argv[1]).rglob("*.ndjson*"):
        content = path.read_bytes()
        for line in (gzip.decompress(content) if path.suffix == ".gz" else content).splitlines():
            payload = loads(line)["payload"]
            name = f"{payload.get('conversationUUID')}|{payload.get('endedAt')}"
            sha256(name.encode()).hexdigest(), sha256(line).hexdigest()
""",
    "json.loads + json_normalize": _LINES
    + """
    import json
    import pandas as pd
    rows = []
    for path in files:
        with opened(path) as lines:
            rows += [json.loads(line) for line in lines]
    print(len(pd.json_normalize(rows)))
""",
    "pandas read_json": _LINES
    + """
    import pandas as pd
    frames = [pd.read_json(path, lines=True) for path in files]
    frame = pd.concat(frames, ignore_index=True)
    print(len(pd.concat([frame.drop(columns="payload"), pd.json_normalize(frame["payload"])], axis=1)))
""",
    "polars read_ndjson": _LINES
    + """
    import polars as pl
    frames = []
    for path in files:
        with opened(path) as lines:
            frames.append(pl.read_ndjson(lines.read(), infer_schema_length=None).unnest("payload"))
    print(len(pl.concat(frames, how="diagonal_relaxed")))
""",
    "duckdb read_json": """
    import sys
    import duckdb
    query = "SELECT * FROM read_json(?, format='newline_delimited', union_by_name=true, sample_size=-1)"
    print(len(duckdb.execute(query, [sys.argv[1] + "/**/*.ndjson*"]).to_arrow_table()))
""",
}
_NEEDS = {"polars read_ndjson": "polars"}
WAYS = (FLOOR, SCRIPT, f"{SCRIPT}, {LIMIT}", OURS, *(name for name in _CODE if name != FLOOR))
_UNCLAIMED = {
    "events": {"payload_digest", "source_record", "extra_fields", "ended_by", "start_is_whole"},
    "messages": {"slack_text"},
    "conversations": {"ended_by", "start_is_whole"},
    "offline_messages": {"event_id"},
}
"""Columns that the script leaves out, or fills with other values: see its docstring."""
_COMPARABLE = {
    "event_id": "CASE WHEN kind IN ('transcript', 'conversation_started') "
    "THEN conversation_id || event_id END",
    "visitor_traits": "coalesce(list_sort(map_entries(TRY_CAST(TRY_CAST(visitor_traits AS JSON) "
    "AS MAP(VARCHAR, JSON))))::VARCHAR, visitor_traits)",
}
"""Compared instead of a column of events: ids that do not depend on the body, and traits in any order."""


def differences(ours: Path, other: Path) -> dict[str, int]:
    """Return the number of rows of each table that only one of two folders has, by the script's columns."""
    counts = {}
    for table, fields in TABLES.items():
        names = [field.name for field in fields if field.name not in _UNCLAIMED.get(table, ())]
        values = ", ".join(_COMPARABLE.get(name, name) if table == "events" else name for name in names)
        a, b = (f"SELECT {values} FROM '{folder / table}.parquet'" for folder in (ours, other))  # noqa: S608
        query = f"SELECT count(*) FROM (({a} EXCEPT ALL {b}) UNION ALL ({b} EXCEPT ALL {a}))"  # noqa: S608
        ((counts[table],),) = duckdb.execute(query).fetchall()
    return counts


def without_bytecode() -> int:
    """Return the number of modules that each of our processes compiles, for lack of stored bytecode."""
    code = """
    import sys
    from pathlib import Path
    import chatlio_kit.cli.convert, chatlio_kit.tables.pipeline
    ours = [module.__spec__.cached for name, module in sys.modules.items() if name.startswith("chatlio_kit")]
    print(sum(not Path(cached).exists() for cached in ours))
"""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=True)
    return int(done.stdout)


def command(way: str, export: Path, out: Path) -> list[str]:
    """Return the command that runs a way on an export and writes into a folder."""
    folders = [str(export), str(out)]
    if way == OURS:
        return [*_OURS, "convert", folders[0], "--out", folders[1], "--json"]
    if way in _CODE:
        return [sys.executable, "-c", textwrap.dedent(_CODE[way]), *folders]
    return [sys.executable, _SCRIPT, *folders, *([LIMIT] if way.endswith(LIMIT) else [])]


def compare(export: Path, only: list[str] | None, rounds: int, mark: str) -> None:
    """Measure every way on one export, print the results, and compare the two sets of tables."""
    size = sum(path.stat().st_size for path in export.rglob("*.ndjson*")) / 1e6
    print(f"\n{export.name}: {size:,.0f} MB on disk, {os.cpu_count()} processors, {rounds} rounds")
    ways = [way for way in WAYS if not only or any(part in way for part in only)]
    there = [way for way in ways if way not in _NEEDS or find_spec(_NEEDS[way])]
    with tempfile.TemporaryDirectory() as folder:
        outs = {way: Path(folder) / str(number) for number, way in enumerate(there)}
        for out in outs.values():
            out.mkdir()
        runs = [{way: measure(command(way, export, outs[way])) for way in there} for _ in range(rounds)]
        print(file=sys.stderr)
        print(f"{'way':<28}{'CPU s':>7}{'of rounds':>16}{'s':>8}{'peak MB':>9}  ours to it: CPU, seconds")
        for way in ways:
            costs, ours = [run[way] for run in runs if way in run], [run[OURS] for run in runs if OURS in run]
            print(f"{way + mark * (way == OURS):<28}{_line(costs, ours) if costs else 'not run'}")
        if {SCRIPT, OURS} <= outs.keys():
            found = differences(outs[OURS], outs[SCRIPT])
            print(f"Rows that only ours or only the DuckDB script has: {json.dumps(found)}")


def _line(costs: list[Cost], ours: list[Cost]) -> str:
    if error := next((cost.error for cost in costs if cost.error), ""):
        return error
    cpus = [cost.cpu for cost in costs]
    line = f"{median(cpus):>7.1f}{f'{min(cpus):.1f} to {max(cpus):.1f}':>16}"
    line += f"{median(cost.seconds for cost in costs):>8.1f}{max(cost.peak for cost in costs):>9,.0f}  "
    if ours and ours != costs:
        line += _ratio([a.cpu / b.cpu for a, b in zip(ours, costs, strict=True)])
        line += ", " + _ratio([a.seconds / b.seconds for a, b in zip(ours, costs, strict=True)])
    return line


def _ratio(ratios: list[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--events", type=int, action="append", help="records; once for each export")
    parser.add_argument("--export", type=Path, action="append", help="an existing export")
    parser.add_argument("--only", action="append", help="a part of a way's name")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is run")
    options = parser.parse_args()
    modules = without_bytecode()
    mark = " *" if modules else ""
    if modules:
        print(
            f"* No bytecode: each process compiles {modules} modules of chatlio_kit, which an installed "
            "package ships compiled. To measure that, unset PYTHONDONTWRITEBYTECODE and start again."
        )
    helps = [measure([*_OURS, "--help"], rest=0).cpu for _ in range(5)]
    print(f"--help{mark}: {median(helps):.2f} s of CPU ({min(helps):.2f} to {max(helps):.2f})")
    with tempfile.TemporaryDirectory() as folder:
        for export in options.export or ():
            compare(export, options.only, options.rounds, mark)
        for events in options.events or (() if options.export else (600_000, 60_000)):
            export = Path(folder) / f"{events:,} records"
            subprocess.run(
                [*_OURS, "sample", str(export), "--events", str(events)], check=True, capture_output=True
            )
            compare(export, options.only, options.rounds, mark)


if __name__ == "__main__":
    main()
