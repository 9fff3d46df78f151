"""The commands: one JSON object on stdout, sentences on stderr, and the exit codes of the contract."""

from __future__ import annotations

import gzip
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson
import pandas as pd
import pytest
import requests
from click.testing import CliRunner, Result

from chatlio_kit import local_platform
from chatlio_kit.cli import main
from chatlio_kit.samples import write_sample


def _run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def _json(result: Result) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(result.stdout)
    return content


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder whose local platform is stopped in the end."""
    state = tmp_path_factory.mktemp("work") / "state"
    yield state
    local_platform.stop(state / "local")


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A realistic export with broken records."""
    return write_sample(tmp_path_factory.mktemp("export") / "x.d", events=600, seed=7, bad_share=0.05).path


def test_sample_reports_its_records(tmp_path: Path) -> None:
    """``sample`` writes the requested number of records and lists the broken ones."""
    said = _json(_run("sample", tmp_path / "x.d", "--events", "500", "--bad-share", "0.02", "--json"))
    assert (said["events"], said["bad"], said["good"]) == (500, 10, 490)
    assert sum(said["by_kind"].values()) == 490
    assert len(Path(said["manifest"]).read_bytes().splitlines()) == 10


@pytest.mark.parametrize("options", [("--events", "0"), ("--bad-share", "0.9"), ("--events", "many")])
def test_sample_refuses_invalid_arguments(tmp_path: Path, options: tuple[str, str]) -> None:
    """A count or a share out of range is a usage error."""
    assert _run("sample", tmp_path / "x", *options).exit_code == 2


def test_sample_does_not_overwrite_other_folders(tmp_path: Path) -> None:
    """A folder that holds something else is not overwritten."""
    (tmp_path / "mine.txt").write_text("keep")
    result = _run("sample", tmp_path)
    assert result.exit_code == 1
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_convert_writes_tables_and_report(export: Path, tmp_path: Path) -> None:
    """``convert`` writes five Parquet files, rejects and report, and prints the same as JSON."""
    result = _run("convert", export, "--out", tmp_path / "out", "--json")
    said = _json(result)
    assert result.exit_code == 3
    assert said["read"] == said["accepted"] + said["rejected"] + said["duplicates"] == 600
    assert said == orjson.loads((tmp_path / "out" / "report.json").read_bytes())
    for table, rows in said["tables"].items():
        assert len(pd.read_parquet(tmp_path / "out" / f"{table}.parquet")) == rows
    assert len((tmp_path / "out" / "rejected.jsonl").read_bytes().splitlines()) == said["rejected"] == 30


def test_backfill_again_and_then_status_and_reconcile(export: Path, state: Path) -> None:
    """A backfill's JSON has the contract's keys and adds up; the commands after it agree with it."""
    first = _run("backfill", export, "--state", state, "--json")
    said = _json(first)
    assert first.exit_code == 3
    keys = (
        "destination read accepted rejected duplicates delivered dead_lettered pending landed by_kind"
        " rejected_by_reason dead_by_reason requests retries seconds total"
    )
    assert list(said)[: len(keys.split())] == keys.split()
    assert (said["gone"], said["gone_by_reason"], said["total_gone_by_reason"]) == (0, {}, {})
    assert (said["not_read_again"], said["unreadable_batches"]) == (0, [])
    assert said["read_back_at"].endswith("Z")
    assert said["destination"] == "local/prod/chatlio"
    assert said["read"] == said["accepted"] + said["rejected"] + said["duplicates"] == 600
    assert said["accepted"] == said["delivered"] + said["dead_lettered"] + said["pending"] == said["landed"]
    assert said["total"] == {"delivered": 570, "dead_lettered": 0, "pending": 0, "landed": 570}

    again = _json(_run("backfill", export, "--state", state, "--json"))
    assert (again["delivered"], again["duplicates"], again["total"]) == (0, 570, said["total"])

    (book,) = _json(_run("status", "--state", state, "--json"))["destinations"]
    assert book["total"] == said["total"]
    found = _run("reconcile", "--state", state, "--json")
    assert found.exit_code == 0
    reported = _json(found)
    assert reported["total"] == said["total"]
    assert (reported["under_way"], reported["overdue"], reported["lost"], reported["lake_duplicates"]) == (
        0,
        0,
        0,
        0,
    )
    assert (reported["runs"]["ingested"], reported["missing"], reported["dead"]) == (570, [], [])
    assert "FROM chatlio" in reported["sql"]


def test_a_backfill_keeps_a_pace_and_its_forecast_shows_it(export: Path, state: Path) -> None:
    """``--pace`` sets the minimum time in a forecast, and the maximum number of messages in a request."""
    common = ("backfill", export, "--pace", 100, "--state", state, "--json")
    reported = _json(_run(*common, "--dry-run"))
    assert (reported["messages_per_second"], reported["least_seconds"]) == (100, reported["accepted"] / 100)
    said = _json(_run(*common))
    assert (
        said["requests"]
        == sum(kind["requests"] for kind in reported["kinds"].values())
        >= said["accepted"] / 5
    )
    assert _run("backfill", export, "--pace", 0, "--state", state).exit_code == 2


def test_the_page_shows_every_count(export: Path, state: Path) -> None:
    """Without ``--json``, the page is printed to stdout, with kinds, reasons and the equations."""
    _run("backfill", export, "--state", state)
    page = _run("backfill", export, "--state", state).stdout
    replayed = _run("replay", "--state", state).stdout
    assert "Nothing was replayed: there are no dead letters." in replayed
    for word in (
        "read",
        "accepted",
        "rejected",
        "duplicates",
        "delivered",
        "dead-lettered",
        "pending",
        "landed",
    ):
        assert word in page
    assert "not_json" in page
    assert "read 600 = accepted 0 + rejected 30 + duplicates 570" in page


def test_connect_shows_its_plan_and_writes_urls_once_asked(state: Path, tmp_path: Path) -> None:
    """A dry run changes nothing, a second run makes nothing; URLs leave through a private file only."""
    planned = _json(_run("connect", "--name", "shop", "--dry-run", "--state", state, "--json"))
    assert {each["action"] for each in planned["objects"]} == {"create"}
    made = _json(_run("connect", "--name", "shop", "--state", state, "--json"))
    assert {each["action"] for each in made["objects"]} == {"create"}
    result = _run(
        "connect", "--name", "shop", "--write-urls", tmp_path / "urls.json", "--state", state, "--json"
    )
    assert {each["action"] for each in _json(result)["objects"]} == {"reuse"}
    urls = orjson.loads((tmp_path / "urls.json").read_bytes())
    assert oct((tmp_path / "urls.json").stat().st_mode)[-3:] == "600"
    assert len(urls) == 5
    assert requests.post(urls["feedback"], json={"a": 1}, timeout=10).status_code == 200
    for url in urls.values():
        assert url not in result.output
        assert url.split("/collection/")[1].split("?")[0] not in result.output


def test_disconnect_needs_a_yes_and_is_idempotent(state: Path) -> None:
    """Without a yes nothing is removed; with it our flows go, twice without harm; the data stays."""
    _run("connect", "--name", "gone", "--state", state)
    assert _run("disconnect", "--name", "gone", "--state", state, "--json").exit_code == 2
    assert _run("reconcile", "--name", "gone", "--state", state).exit_code == 0
    first = _run("disconnect", "--name", "gone", "--yes", "--state", state, "--json")
    second = _run("disconnect", "--name", "gone", "--yes", "--state", state, "--json")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert _json(first)["removed"]
    assert not _json(second)["removed"]


def test_an_unknown_connection_is_reported(state: Path) -> None:
    """Reconciling a connection that was never made is a sentence and exit code 1."""
    result = _run("reconcile", "--name", "never", "--state", state, "--json")
    assert result.exit_code == 1
    assert "never" in _json(result)["error"]


def test_aep_without_settings_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real platform without settings names every setting that is missing."""
    monkeypatch.chdir(tmp_path)
    for name in ("AEP_CLIENT_ID", "AEP_CLIENT_SECRET", "AEP_ORG_ID", "AEP_SANDBOX"):
        monkeypatch.delenv(name, raising=False)
    result = _run("connect", "--platform", "aep")
    assert result.exit_code == 1
    assert "AEP_CLIENT_SECRET" in result.stderr


@pytest.mark.parametrize("command", ["convert", "backfill"])
def test_a_missing_path_and_an_empty_folder(command: str, tmp_path: Path, state: Path) -> None:
    """A missing path is exit code 2, an empty folder 1, each with a sentence that names it."""
    (tmp_path / "empty").mkdir()
    more = ("--out", tmp_path / "out") if command == "convert" else ("--state", state)
    missing = _run(command, tmp_path / "nowhere", *more)
    empty = _run(command, tmp_path / "empty", *more)
    assert (missing.exit_code, empty.exit_code) == (2, 1)
    assert "nowhere" in missing.stderr
    assert "empty" in empty.stderr
    assert missing.stdout == empty.stdout == ""


def test_tables_stay_separate_from_captures(tmp_path: Path) -> None:
    """Tables of an earlier run are excluded anywhere, and no tables are written among captures."""
    captures = write_sample(tmp_path / "captures", events=20, seed=1).path
    out = captures / "out"
    counts = [_json(_run("convert", captures, "--out", out, "--json")) for _ in range(2)]
    assert counts[0] == counts[1]
    again = _run("convert", captures, "--out", tmp_path / "other")
    assert "left out (tables and reports that convert wrote): captures/out/" in again.stdout
    alone = _run("convert", out, "--out", tmp_path / "other")
    assert alone.exit_code == 1
    assert "holds tables that convert wrote, not captures" in alone.stderr
    into = _run("convert", captures, "--out", captures / "transcript")
    assert into.exit_code == 2
    assert "a separate folder" in into.output


def test_an_out_that_cannot_be_written(export: Path, tmp_path: Path) -> None:
    """An --out below a file is exit code 1 with a sentence."""
    (tmp_path / "file").write_text("")
    result = _run("convert", export, "--out", tmp_path / "file" / "out")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


def test_unreadable_files_do_not_cost_their_neighbours(export: Path, tmp_path: Path) -> None:
    """A truncated gzip, an empty file and random bytes are reported; the valid file is converted."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = sorted((export / "transcript").glob("2025-*.ndjson"))[-1].read_bytes()
    (folder / "transcript-good.ndjson").write_bytes(good)
    packed = gzip.compress(good)
    (folder / "transcript-cut.gz").write_bytes(packed[: len(packed) // 2])
    (folder / "empty.ndjson").write_bytes(b"")
    (folder / "noise.bin").write_bytes(random.Random(1).randbytes(9000))
    alone = _json(_run("convert", folder / "transcript-good.ndjson", "--out", tmp_path / "a", "--json"))
    result = _run("convert", folder, "--out", tmp_path / "b", "--json")
    assert result.exit_code == 3
    said = _json(result)
    assert said["accepted"] == alone["accepted"] > 0
    assert said["rejected_by_reason"]["unreadable"] == 2
    assert "empty.ndjson is empty" in _run("convert", folder, "--out", tmp_path / "b").stdout


def test_the_same_on_a_real_command_line(export: Path, tmp_path: Path) -> None:
    """Progress and prose go to stderr; stdout holds one JSON object and nothing else."""
    command = [
        sys.executable,
        "-m",
        "chatlio_kit",
        "convert",
        str(export),
        "--out",
        str(tmp_path / "o"),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 3
    assert orjson.loads(done.stdout)["read"] == 600


def test_help_lists_each_command_and_imports_none() -> None:
    """The list of commands is quick: it loads neither pandas nor the rooms."""
    program = (
        "import sys\nfrom chatlio_kit.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print([name for name in ('pandas', 'pyarrow', 'requests') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    *lines, loaded = shown.splitlines()
    assert loaded == "[]"
    context = click.Context(main)
    commands = {name: main.get_command(context, name) for name in main.list_commands(context)}
    assert all(commands.values())
    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == [
        "Options:",
        "Start here:",
        "Read:",
        "Connect and send:",
        "Look after:",
        "Rehearse and check:",
    ]
    assert commands.keys() <= {line.split()[0] for line in lines if line.startswith("  ")}


@pytest.mark.parametrize(
    "arguments",
    [
        ("explore", "nowhere"),
        ("explore", ".", "--limit", "0"),
        ("forget", "--email", "ana@example.org", "--tables", "nowhere"),
        ("slack", "inspect"),
        ("nothing",),
    ],
)
def test_wrong_usage_is_reported_in_json_too(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A usage error is one JSON object on stdout, like any other error."""
    monkeypatch.chdir(tmp_path)
    result = _run(*arguments, "--json")
    assert result.exit_code == 2
    assert set(_json(result)) == {"error"}
    assert _run(*arguments).stdout == ""


def test_an_incomplete_connection_names_a_command(state: Path) -> None:
    """The next step is a command, not a call."""
    result = _run("reconcile", "--name", "nobody", "--state", state)
    assert result.exit_code == 1
    assert "`chatlio-kit connect`" in result.stderr
    assert "apply" not in result.stderr


def test_tables_are_never_overwritten_by_derived_files(export: Path, tmp_path: Path) -> None:
    """A workbook ends in .xlsx and a page in .html; any other file may hold something else."""
    _run("convert", export, "--out", tmp_path / "tables")
    events = tmp_path / "tables" / "events.parquet"
    before = events.read_bytes()
    for command, option in (("metrics", "--xlsx"), ("explore", "--out")):
        result = _run(command, tmp_path / "tables", option, events)
        assert (result.exit_code, events.read_bytes()) == (2, before)
        assert option in result.stderr


def test_metrics_refuse_holidays_without_hours(export: Path, tmp_path: Path) -> None:
    """Without hours, holidays would be ignored."""
    _run("convert", export, "--out", tmp_path / "tables")
    result = _run("metrics", tmp_path / "tables", "--holidays", "DE")
    assert result.exit_code == 2
    assert "Add --hours" in result.stderr


def test_metrics_name_what_tables_lack(export: Path, tmp_path: Path) -> None:
    """Messages without a conversation are named instead of counted as nothing."""
    _run("convert", export, "--out", tmp_path / "tables", "--redact", "drop")
    result = _run("metrics", tmp_path / "tables")
    assert "because no conversation is known" in result.stdout


def test_a_slack_export_from_which_nothing_is_read_is_noted(tmp_path: Path) -> None:
    """Settings that match no channel are named, and the shares that Slack cannot know."""
    write_sample(tmp_path / "x.d", events=60, slack=True)
    settings = tmp_path / "slack.toml"
    settings.write_text('channels = ["q-*"]\napp_ids = ["A0CHATLIO1"]\n', encoding="utf-8")
    read = ("convert", tmp_path / "x.d.slack.zip", "--slack", settings, "--out", tmp_path / "tables")
    assert "No channel of x.d.slack.zip was read" in _run(*read).stdout
    settings.write_text('channels = ["z-*"]\napp_ids = ["A0CHATLIO1"]\n', encoding="utf-8")
    assert "No channel" not in _run(*read).stdout
    assert "conversations are known only from Slack" in _run("metrics", tmp_path / "tables").stdout
    settings.write_bytes(b"\xff\xfe")
    assert "it is not UTF-8" in _run(*read).stderr


@pytest.mark.parametrize("option", [["--despite-audit"], ["--confirm", "chatlio"]])
def test_options_for_profile_require_profile(state: Path, option: list[str]) -> None:
    """An option that would have no effect is refused, not ignored."""
    result = _run("connect", *option, "--state", state)
    assert result.exit_code == 2
    assert "require --profile" in result.output


def _documented_keys() -> dict[str, set[str]]:
    """Return, by command, the keys that docs/json.md lists in the first column of its tables."""
    keys: dict[str, set[str]] = {}
    commands: list[str] = []
    for line in (Path(__file__).parent.parent / "docs" / "json.md").read_text("utf-8").splitlines():
        if line.startswith("## "):
            commands = re.findall(r"`([^`]+)`", line)
        elif line.startswith("| `"):
            first, second, *_ = line.strip("| ").split(" | ")
            if not commands:  # the last table: a command, and its keys
                keys[first.strip("`")] = set(re.findall(r"`([^`-][^`]*)`", second))
                continue
            named = [name for name in re.findall(r"`([^`]+)`", second) if name in commands]
            for command in named or commands:
                keys.setdefault(command, set()).update(re.findall(r"`([^`]+)`", first))
    return keys


def test_the_page_about_json_lists_the_keys_that_commands_print(
    export: Path, state: Path, tmp_path: Path
) -> None:
    """docs/json.md names the keys of every command, and no other."""
    tables = tmp_path / "tables"
    place = ("--state", state)
    made = write_sample(tmp_path / "chats", events=60, seed=3, slack=True)
    calls: dict[str, tuple[str | Path, ...]] = {
        "sample": ("sample", tmp_path / "small", "--events", "5", "--slack"),
        "convert": ("convert", made.path, "--out", tables),
        "backfill --dry-run": ("backfill", export, "--dry-run", *place),
        "backfill": ("backfill", export, *place),
        "replay": ("replay", *place),
        "status": ("status", *place),
        "reconcile": ("reconcile", *place),
        "doctor": ("doctor", *place),
        "connect": ("connect", *place),
        "metrics": ("metrics", tables),
        "explore": ("explore", tables, *place),
        "trace": ("trace", "nobody@example.org", *place),
        "identities": ("identities", made.path),
        "slack inspect": ("slack", "inspect", str(made.slack), made.path),
        "forget": ("forget", "--email", "nobody@example.org", "--yes", *place),
        "disconnect": ("disconnect", "--name", "never", "--yes", *place),
    }
    documented = _documented_keys()
    assert documented.keys() == calls.keys()
    for command, call in calls.items():
        content = _json(_run(*call, "--json"))
        content = content["destinations"][0] if command == "status" else content
        assert set(content) == documented[command], command
