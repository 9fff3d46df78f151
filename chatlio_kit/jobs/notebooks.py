"""Set up the guided notebooks: each lesson starts where the previous one ended."""

from __future__ import annotations

import atexit
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from chatlio_kit.aep import Platform
from chatlio_kit.arguments import a_path_or_paths, checked, optional, place, text
from chatlio_kit.connection import Connection, open_connection, plan_connection
from chatlio_kit.delivery import Run, stream
from chatlio_kit.display import Sheet, SheetDisplay
from chatlio_kit.display.frame import frame_sheet
from chatlio_kit.display.notice import Notice
from chatlio_kit.display.palette import BLUE, ORANGE
from chatlio_kit.errors import ChatlioKitError, NothingAccepted, TooEarly, UsageError
from chatlio_kit.jobs.exercises import EXERCISES
from chatlio_kit.jobs.platforms import open_platform
from chatlio_kit.samples import SampleExport, write_sample
from chatlio_kit.settings import AEP, DEFAULT_STATE, LOCAL
from chatlio_kit.tables import Export, FieldPolicy, ReadOptions, Tables, read_export

SAMPLE_EVENTS, SAMPLE_SEED, SAMPLE_BAD_SHARE = 2000, 7, 0.01

_CLEAN_UP = """
import shutil, sys
from pathlib import Path
folder = sys.argv[1]
sys.path.append(sys.argv[2])
sys.stdin.read()  # ends with the process that opened the lesson
from chatlio_kit.local_platform import stop
try:
    for lock in Path(folder).rglob("server.lock"):
        stop(lock.parent)
finally:
    shutil.rmtree(folder, ignore_errors=True)
"""


class Step(StrEnum):
    """The lessons, in their order."""

    START = "start"
    CONNECT = "connect"
    CONVERT = "convert"
    STREAM = "stream"
    VERIFY = "verify"
    SLACK = "slack"
    PEOPLE = "people"
    ANSWERS = "answers"


_NUMBERS = {
    Step.START: 0,
    Step.CONNECT: 1,
    Step.CONVERT: 2,
    Step.STREAM: 3,
    Step.VERIFY: 4,
    Step.SLACK: 5,
    Step.PEOPLE: 6,
    Step.ANSWERS: 7,
}
_AVAILABLE_IN = {
    "captures": (Step.START, Step.CONVERT, Step.SLACK, Step.PEOPLE, Step.ANSWERS, Step.STREAM, Step.VERIFY),
    "slack": (Step.SLACK,),
    "connection": (Step.STREAM, Step.VERIFY),
    "tables": (Step.PEOPLE, Step.STREAM, Step.VERIFY),
    "run": (Step.VERIFY,),
}
_MADE_BY = {
    "captures": "open_lesson('convert') brings a sample of them",
    "slack": "open_lesson('slack') brings a sample of it",
    "connection": "it is made in this lesson or the one before, by plan.apply()",
    "tables": "they are made from the captures, by read_export(captures).to_tables()",
    "run": "it begins with stream(tables, connection)",
}


class NotebookSetup(SheetDisplay):
    """The starting point of a lesson: the results of the previous lessons.

    Attributes:
        step: The lesson.
        folder: The state folder; on the local platform a temporary one, unless one was named.
    """

    def __init__(
        self,
        step: Step,
        platform: str,
        captures: list[Path | str] | None,
        state: Path | None,
        options: Mapping[str, Any],
        slack: Path | None = None,
    ) -> None:
        self.step = step
        self._options = options
        self.is_local = platform == LOCAL
        self.folder = state or (_temporary_folder() if self.is_local else DEFAULT_STATE)
        self._captures, self._slack = captures, slack
        if self.is_local and step is Step.VERIFY:
            self.run.reconcile()
        elif self.is_local and step is Step.STREAM:
            _ = self.tables  # unusable captures are reported immediately; the connection is created later

    @cached_property
    def platform(self) -> Platform:
        """The platform, opened on first access."""
        return open_platform(LOCAL if self.is_local else AEP, state=self.folder)

    @cached_property
    def captures(self) -> list[Path | str]:
        """The captured webhooks, as ``read_export`` takes them."""
        self._require("captures")
        if self._captures is not None:
            return self._captures
        if not self.is_local:
            raise TooEarly(
                "On Experience Platform a lesson brings no sample captures. "
                "Name the folder of your own ones in CAPTURES."
            )
        return [self._sample.path]

    @cached_property
    def slack(self) -> Path:
        """The Slack workspace export."""
        self._require("slack")
        if self._slack is not None:
            return self._slack
        export = self._sample.slack if self.is_local and self._captures is None else None
        if export is None:
            raise TooEarly("Only the sample has a Slack export. Name your own export in SLACK.")
        return export

    @cached_property
    def _sample(self) -> SampleExport:
        return write_sample(
            self.folder / "captures",
            events=SAMPLE_EVENTS,
            seed=SAMPLE_SEED,
            bad_share=SAMPLE_BAD_SHARE,
            slack=self.step is Step.SLACK,
        )

    @cached_property
    def connection(self) -> Connection:
        """The connection created in the lesson "connect"."""
        self._require("connection")
        if self.is_local:
            return plan_connection(self.platform, quiet=True).apply(quiet=True)
        return open_connection(self.platform, quiet=True)

    @cached_property
    def tables(self) -> Tables:
        """The tables created in the lesson "convert"."""
        self._require("tables")
        tables = self._export.to_tables(quiet=True)
        if tables.events.empty:
            by_reason = tables.counts.rejected_by_reason.most_common()
            where = ", ".join(map(repr, map(str, self.captures)))
            raise NothingAccepted(
                f"No record in {where} was accepted "
                f"({', '.join(f'{count:,} {reason}' for reason, count in by_reason)}), so there is nothing "
                "to stream. KIND and UNDATED_AS in the cell with the parameters say what captures do not; "
                "the lesson 'convert' shows each record's reason."
            )
        return tables

    @property
    def _export(self) -> Export:
        return read_export(self.captures, **self._options)

    @cached_property
    def run(self) -> Run:
        """The run of the lesson "stream".

        On Experience Platform it is a new run that sends nothing; its page shows what was sent before.
        """
        self._require("run")
        if self.is_local:
            return stream(self.tables, self.connection, quiet=True)
        with Run(self.connection, self.folder, quiet=True) as run:
            return run

    def example_visitor(self, tables: Tables) -> str:
        """Return the visitor with the most events, to practise forgetting.

        Raises:
            ChatlioKitError: On Experience Platform, no example visitor is chosen.
        """
        if not self.is_local:
            raise TooEarly(
                "On Experience Platform, no example visitor is chosen. Set VISITOR to the id to forget."
            )
        visitors = tables.visitors.sort_values(["events", "visitor_id"])["visitor_id"]
        return str(visitors.iloc[-1])

    def check(self, number: int, answer: object, about: object) -> Notice:
        """Return whether the answer to an exercise is right, and if not, why.

        The right answer is computed from ``about``, so it fits your own data.

        Args:
            number: Number of the exercise in this lesson, from 1.
            answer: Your answer; ``...`` means that there is none yet.
            about: The object that the exercise names.

        Raises:
            UsageError: There is no such exercise.
        """
        exercises = EXERCISES.get(self.step, ())
        if number not in range(1, len(exercises) + 1):
            raise UsageError(f"This lesson has the exercises 1 to {len(exercises)}, and no {number!r}.")
        return exercises[number - 1].check(answer, about)

    @contextmanager
    def expect_stop(self) -> Iterator[None]:
        """Show the message of an error that is raised on purpose, and continue."""
        display = import_module("IPython.display").display
        try:
            yield
        except ChatlioKitError as error:
            display(Notice("Stopped, as expected", str(error), BLUE))
        else:
            display(Notice("Not stopped", "Nothing was in the way.", ORANGE))

    def _require(self, name: str) -> None:
        if self.step not in _AVAILABLE_IN[name]:
            raise TooEarly(
                f"The lesson {self.step.value!r} starts without {name}: {_MADE_BY[name]}. "
                f"The lesson {_AVAILABLE_IN[name][-1].value!r} starts with everything."
            )

    def sheet(self) -> Sheet:
        """Return a table of the lesson's starting point."""
        where = "the local platform" if self.is_local else "Experience Platform"
        available = {"platform": where} | {
            name: "ready" for name, steps in _AVAILABLE_IN.items() if self.step in steps
        }
        return Sheet(f"Lesson {_NUMBERS[self.step]:02}, {self.step.value}", ("", ""), list(available.items()))


@checked(step=text, platform=text, state=optional(place), slack=optional(place))
def open_lesson(
    step: str,
    *,
    platform: str = LOCAL,
    captures: Path | str | Sequence[Path | str] | None = None,
    kind: str | None = None,
    undated_as: str | None = None,
    fields: str | Mapping[str, str] | None = None,
    redact: str | Mapping[str, str] | None = None,
    time_zone: str = "UTC",
    state: Path | str | None = None,
    slack: Path | str | None = None,
) -> NotebookSetup:
    """Open one of the guided lessons: start, connect, convert, stream, verify, slack, people or answers.

    On the local platform, it starts where the previous lesson ended, in a temporary folder that is removed
    with the notebook. On Experience Platform, it continues with the existing objects, and changes nothing by
    itself.
    In a notebook, frames are shown as tables to read from then on: times to the second, missing values empty.

    Args:
        step: The lesson.
        platform: ``local`` or ``aep``.
        captures: Captured webhooks, as in ``read_export``; by default, on the local platform, a sample.
        kind: As in ``read_export``.
        undated_as: As in ``read_export``.
        fields: As in ``read_export``.
        redact: As in ``read_export``.
        time_zone: The zone in which the notebook shows times; the frames themselves stay in UTC.
        state: The state folder; by default a temporary one on the local platform, else ``.chatlio-kit``.
        slack: A Slack workspace export; by default, on the local platform, the sample's.

    Raises:
        UsageError: There is no such lesson, platform, kind or stand-in.
        SettingsError: A setting for ``aep`` is missing.
        PlatformError: The platform cannot be reached or refuses.
    """
    if step not in list(Step):
        raise UsageError(f"There is no lesson called {step!r}. The lessons are {', '.join(Step)}.")
    if platform not in (LOCAL, AEP):
        raise UsageError(f"The platform {platform!r} is neither {LOCAL} nor {AEP}. Choose one of the two.")
    ReadOptions.from_options(kind, undated_as, fields)
    FieldPolicy.from_options(redact)
    _show_frames(time_zone)
    return NotebookSetup(
        Step(step),
        platform,
        None if captures is None else a_path_or_paths("captures", captures),
        None if state is None else Path(state),
        {"kind": kind, "undated_as": undated_as, "fields": fields, "redact": redact},
        None if slack is None else Path(slack),
    )


def _show_frames(time_zone: str) -> None:
    """Show frames and series of this notebook as tables to read."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return
    formatters = shell.display_formatter.formatters
    for kind in (pd.DataFrame, pd.Series):
        formatters["text/html"].for_type(
            kind, lambda frame: frame_sheet(frame, time_zone=time_zone)._repr_html_()
        )
        formatters["text/plain"].for_type(
            kind, lambda frame, printer, _: printer.text(str(frame_sheet(frame, time_zone=time_zone)))
        )


def _temporary_folder() -> Path:
    """Create a folder that is removed at the end of this process, however it ends."""
    folder = Path(tempfile.mkdtemp(prefix="chatlio-kit-lesson-"))
    cleaner = subprocess.Popen(
        [sys.executable, "-P", "-c", _CLEAN_UP, str(folder), str(Path(__file__).parents[2])],
        stdin=subprocess.PIPE,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        cwd=folder.parent,
    )
    atexit.register(cleaner.communicate)
    return folder
