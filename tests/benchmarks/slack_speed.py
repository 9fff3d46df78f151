"""Read a Slack export with chatlio_kit and with another reader: same zip, same run, separate processes.

    python tests/benchmarks/slack_speed.py [--members 100000] [--messages 10] [--only chatlio]

Writes two made-up exports of chats, one a tenth of the other, and prints for each way and export the seconds
of the whole process and its peak memory (resident, over the process tree). Ours opens the zip once, cuts
conversations, validates them and writes five tables; the peer unpacks the zip and loads messages to show
them. A peer that is not installed prints "not run": `pip install --target DIR slack-export-viewer`, and
SLACK_PEER=DIR, which keeps its dependencies apart.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import textwrap
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import orjson
from process_tree import measure
from slack_exports import APP, by_visitor, channel, event, said, users

_FIRST = 1_600_000_000
_SETTINGS = f'channels = ["z-*"]\napp_ids = ["{APP}"]\n'
_TEXT = "The left crank creaks when I stand up, and the shop was closed on Monday. " * 3

WAYS = {
    "open: list members, read indexes": """
    import sys
    from pathlib import Path
    from chatlio_kit.slack.files import ExportFiles
    from chatlio_kit.slack.workspace import Workspace
    print(len(Workspace(ExportFiles(Path(sys.argv[1]))).channels))
""",
    "read: conversations as validated events": """
    import sys
    import chatlio_kit as ck
    export = ck.read_slack(sys.argv[1], settings=sys.argv[1] + ".toml")
    print(sum(map(len, export.batches())))
""",
    "chatlio-kit convert --slack": """
    import sys
    from chatlio_kit.cli import main
    main(["convert", sys.argv[1], "--slack", sys.argv[1] + ".toml", "--out", sys.argv[2], "--json"])
""",
    "slack-export-viewer": """
    import os, sys, tempfile
    tempfile.tempdir = sys.argv[2]
    sys.path[:0] = filter(None, [os.environ.get("SLACK_PEER")])
    from slackviewer.config import Config
    from slackviewer.reader import Reader
    channels = Reader(Config({"archive": sys.argv[1]})).compile_channels()
    print(sum(map(len, channels.values())))
""",
    "zipfile + json.loads, all in a list": """
    import json, sys
    from zipfile import ZipFile
    with ZipFile(sys.argv[1]) as archive:
        days = [name for name in archive.namelist() if "/" in name]
        print(sum(map(len, [json.loads(archive.read(name)) for name in days])))
""",
}
PEER = "slack-export-viewer"


def write_export(path: Path, members: int, messages: int) -> Path:
    """Write an export of this many chats, each in one channel on one day."""
    entries = []
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(members - 2):
            id_, name, start = f"C{number:010}", f"z-visitor-{number}", _FIRST + number * 1000
            entries.append(channel(id_, name, created=start))
            lines = [event(f"{start}.000100", "channel_join")]
            for index in range(1, messages - 1):
                by = by_visitor if index % 2 else said
                lines.append(by(f"{start + index * 9}.{number % 900 + 100}000", f"{index} {_TEXT}"))
            lines.append(event(f"{start + 900}.000100", "channel_archive"))
            archive.writestr(f"{name}/2020-09-13.json", orjson.dumps(lines, option=orjson.OPT_INDENT_2))
        archive.writestr("channels.json", orjson.dumps(entries))
        archive.writestr("users.json", orjson.dumps(users()))
    path.with_name(f"{path.name}.toml").write_text(_SETTINGS, encoding="utf-8")
    return path


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=10, help="messages a member")
    parser.add_argument("--only", default="", help="ways whose name contains this")
    options = parser.parse_args()
    has_peer = "SLACK_PEER" in os.environ or find_spec("slackviewer") is not None
    with tempfile.TemporaryDirectory() as folder:
        for members in (options.members // 10, options.members):
            path = write_export(Path(folder) / f"{members}.zip", members, options.messages)
            size = path.stat().st_size / 1e6
            messages = (members - 2) * options.messages
            print(f"\n{members:,} members, {messages:,} messages, {size:,.0f} MB")
            for way, code in WAYS.items():
                if options.only not in way:
                    continue
                if way == PEER and not has_peer:
                    print(f"{way:40} not run")
                    continue
                with tempfile.TemporaryDirectory() as out:
                    run = measure([sys.executable, "-c", textwrap.dedent(code), str(path), out])
                print(f"\r{way:40} {run.seconds:7.1f} s {run.peak:8,.0f} MB  {run.error}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
