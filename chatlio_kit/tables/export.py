"""Captured webhooks, ready to be converted."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from chatlio_kit.arguments import a_path_or_paths, checked, flag, optional, place, text, text_or_texts
from chatlio_kit.captures import Captures, parse
from chatlio_kit.captures.sources.discovery import local_path
from chatlio_kit.chatlio.numbers import indented
from chatlio_kit.counting import counted
from chatlio_kit.display import Progress, Sheet, SheetDisplay
from chatlio_kit.errors import UsageError, in_words, quoted
from chatlio_kit.pool import Cluster, Pool, create_pool, default_workers
from chatlio_kit.slack import ARCHIVE, SlackHistory, SlackSettings, exports_among
from chatlio_kit.tables import pipeline
from chatlio_kit.tables.arrow import NESTED_SCHEMA, events_of, frame_of
from chatlio_kit.tables.deduplicate.deduplicate import Settled
from chatlio_kit.tables.derive import derive_rows
from chatlio_kit.tables.findings import FieldFindings, RecordCounts
from chatlio_kit.tables.next_steps import NextSteps, RejectSample
from chatlio_kit.tables.policy import FieldPolicy
from chatlio_kit.tables.slack import remote_export
from chatlio_kit.tables.tables import Tables
from chatlio_kit.tables.validate.event_batch import EventBatch, ReadOptions

if TYPE_CHECKING:
    from distributed import Client

_LISTED_FILES = 12
_RENAMED = {"crew": "create_pool", "settling": "options", "sifted": "batches", "terms": "policy"}
"""Former names of public attributes."""


class Export(SheetDisplay):
    """Captured webhooks in files and folders, ready to be converted.

    Args:
        captures: Found captures, or files, folders, patterns such as ``captures/**/*.ndjson``, and URLs such
            as ``s3://bucket/path/``.
        options: The reading options.
        policy: The treatment of personal values and unknown fields.
        workers: Number of processes that decode and validate; chosen automatically by default. It does not
            affect the results.
        exclude: Patterns for files and archive members that are not to be read.
        encoding: Encoding of lines that are not UTF-8.
        slack: A Slack export that is read after the captures and merged with them; there need not be any
            captures.
        cluster: A Dask cluster whose workers read, decode and validate: its scheduler's address, or a client.
            It does not affect the results.

    Attributes:
        findings: Findings besides events, filled while reading.
        next_steps: Options that settle rejected records, tried on first access.
        cluster: The Dask cluster, if there is one.
    """

    def __init__(
        self,
        captures: Captures | Sequence[Path | str],
        options: ReadOptions,
        policy: FieldPolicy | None = None,
        *,
        workers: int | None = None,
        exclude: Iterable[str] = (),
        encoding: str | None = None,
        slack: SlackHistory | None = None,
        cluster: str | Client | None = None,
    ) -> None:
        if not isinstance(captures, Captures):
            paths = [] if slack is not None and not captures else a_path_or_paths("paths", captures)
            for export in exports_among(map(Path, map(local_path, paths))):
                raise _export_refused(str(export), "", is_beside=slack is not None)
            captures = Captures(paths, exclude, encoding)
            if (name := remote_export(captures.files)) is not None:
                raise _export_refused(name, "Download it first. ", is_beside=slack is not None)
        self.slack = slack
        self.options, self.policy = options, policy or FieldPolicy()
        if self.policy.redaction.is_on:
            captures = captures.renamed(self.policy.redaction.file_name)
        self.captures = captures.with_fields(options.fields)
        self.findings = FieldFindings(self.policy.redaction.without_key())
        self.next_steps = NextSteps()
        self.cluster = cluster
        self._workers = workers

    def __getattr__(self, name: str) -> Any:
        """Return an attribute by its former name, with a warning."""
        if name not in _RENAMED:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        warnings.warn(
            f"Export.{name} is now Export.{_RENAMED[name]}. The former name works until version 0.2.0.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(self, _RENAMED[name])

    def create_pool(self) -> AbstractContextManager[Pool | Cluster | None]:
        """Start the processes that decode and validate, as many as requested or useful; or use a cluster.

        Raises:
            ClusterError: The cluster cannot be used.
        """
        if self.cluster is not None:
            return Cluster(self.cluster)
        count = self._workers if self._workers is not None else default_workers(self.captures.size)
        return create_pool(count, pipeline.PRELOAD) if count else nullcontext()

    def check_cluster(self) -> None:
        """Connect to the cluster once, if there is one, before anything else is done.

        Raises:
            ClusterError: It cannot be used.
        """
        if self.cluster is not None:
            Cluster(self.cluster).shutdown()

    def batches(
        self, settled: Settled | None = None, *, executor: Executor | None = None
    ) -> Iterator[EventBatch]:
        """Run all steps of :mod:`chatlio_kit.tables.pipeline`, with one batch in memory at a time.

        Args:
            settled: Looks up the events that were settled before this run.
            executor: The executor that decodes and validates batches; by default this run's own pool.
        """
        self.findings = FieldFindings(self.policy.redaction.without_key())
        sample = RejectSample()
        self.next_steps = NextSteps(sample, self.options, self.policy)
        with nullcontext(executor) if executor else self.create_pool() as pool:
            yield from pipeline.batches(
                self.captures,
                self.options,
                self.policy,
                settled,
                pool,
                findings=self.findings,
                sample=sample,
                slack=self.slack,
            )

    def notes(self) -> list[str]:
        """Return sentences about files left out and findings besides events."""
        of_slack = self.slack.notes() if self.slack is not None else []
        return [*self.captures.notes, *of_slack, *self.findings.notes()]

    def peek(self) -> str:
        """Return the first record as captured, indented if it is JSON."""
        for raw_batch in self.captures.batches(1):
            raw = b"".join(raw_batch.raws)
            with suppress(ValueError):
                return indented(parse(raw))
            if raw:
                return raw.decode("utf-8", errors="replace")
        return "There is no record to show."

    @checked()
    def to_tables(self, *, quiet: bool = False) -> Tables:
        """Convert everything to frames, which have to fit in memory."""
        counts = RecordCounts()
        rows = [NESTED_SCHEMA.empty_table()]
        rejections = []
        with Progress("converting", None, "records", quiet=quiet) as progress:
            for batch in self.batches():
                counts.add_batch(batch)
                rows.append(batch.rows)
                rejections += batch.rejected
                progress.advance(batch.records)
        if self.policy.redaction.is_on:
            self.next_steps.drop_records()
        events = pa.concat_tables(rows)
        return Tables(
            frame_of(events_of(events)),
            rejections=rejections,
            counts=counts,
            notes=self.notes(),
            slack=self.slack.counts if self.slack is not None else None,
            findings=self.findings,
            next_steps=self.next_steps,
            **{name: frame_of(table) for name, table in derive_rows(events).items()},
        )

    def sheet(self) -> Sheet:
        """List the files, or their folders if there are many."""
        sizes: dict[tuple[str, str], list[int]] = {}
        for file in self.captures.files:
            name = file.name.rpartition("/")[0] if len(self.captures.files) > _LISTED_FILES else file.name
            sizes.setdefault((name, file.kind or "by shape"), []).append(file.size or 0)
        rows: list[tuple[str | int | None, ...]] = [
            (name, len(in_it), sum(in_it), kind) for (name, kind), in_it in sizes.items()
        ]
        if self.slack is not None:
            channels = len(self.slack.workspace.channels)
            rows.append((self.slack.name, 1, None, f"Slack export with {counted(channels, 'channel')}"))
        notes = self.findings.notes() if self.findings.dialects else []
        return Sheet("Captures", ("place", "files", "bytes", "kind by name"), rows, notes)


@checked()
def read_export(
    paths: Path | str | Sequence[Path | str],
    *,
    kind: str | None = None,
    undated_as: str | None = None,
    fields: str | Mapping[str, str] | None = None,
    redact: str | Mapping[str, str] | None = None,
    contract: str | None = None,
    exclude: str | Sequence[str] = (),
    encoding: str | None = None,
    cluster: str | Client | None = None,
) -> Export:
    """Find captured webhooks in files and folders.

    Args:
        paths: A file, a folder, a pattern such as ``captures/**/*.ndjson`` or a URL such as
            ``s3://bucket/path/``, or several of these.
        kind: The kind of records whose kind is not given by capture, file or shape; it overrides nothing.
        undated_as: The time of events without one: ``file-time``, ``visitor-created`` or an RFC 3339 time. By
            default such records are rejected as undated.
        fields: The paths of payload, time and kind in the records of an unknown logger, such as
            ``payload=request.body,received=request.time,kind=request.path``, or an equivalent mapping;
            ``docs/dialects.md`` lists the names.
        redact: The redaction of personal values: ``drop``, ``mask``, ``hash:aep`` or ``hash:keyed`` for all,
            or for single classes, as in ``personal=hash:keyed,content=drop`` or a mapping.
        contract: The treatment of undocumented fields: ``evolve`` keeps them in ``extra_fields``, ``freeze``
            rejects their records, ``discard_value`` leaves them out; for single tables as in
            ``events=freeze``.
        exclude: Patterns for files and archive members that are not to be read, such as ``*.log`` or
            ``captures/old/**``. A pattern without a slash matches names anywhere, one with a slash paths.
        encoding: The encoding of lines that are not UTF-8, such as ``cp1252``.
        cluster: Address of a Dask scheduler such as ``tcp://host:8786``, or a client, to convert on a
            cluster; ``docs/cluster.md`` describes its requirements.

    Raises:
        MissingPath: A path does not exist, or a pattern matches nothing.
        CaptureError: There are no files, or a store does not respond.
        UsageError: An option is invalid.
        SettingsError: Keyed hashing needs a key, but there is none.
    """
    return Export(
        a_path_or_paths("paths", paths),
        ReadOptions.from_options(kind, undated_as, fields),
        FieldPolicy.from_options(redact, contract),
        exclude=[exclude] if isinstance(exclude, str) else exclude,
        encoding=encoding,
        cluster=cluster,
    )


@checked(
    settings=optional(place),
    channels=optional(text_or_texts),
    app_ids=text_or_texts,
    bot_ids=text_or_texts,
    bot_users=text_or_texts,
    lobby=text_or_texts,
    bot_without_username=text,
    thread_replies=text,
    split_on=text_or_texts,
    closed_only=flag,
    workspace_domain=text,
)
def read_slack(
    path: Path | str,
    *,
    captures: Path | str | Sequence[Path | str] | None = None,
    settings: Path | str | None = None,
    channels: str | Sequence[str] | None = None,
    app_ids: str | Sequence[str] = (),
    bot_ids: str | Sequence[str] = (),
    bot_users: str | Sequence[str] = (),
    lobby: str | Sequence[str] = (),
    bot_without_username: str = "unknown",
    thread_replies: str = "leave-out",
    split_on: str | Sequence[str] = (ARCHIVE,),
    closed_only: bool = False,
    workspace_domain: str = "",
    kind: str | None = None,
    undated_as: str | None = None,
    fields: str | Mapping[str, str] | None = None,
    redact: str | Mapping[str, str] | None = None,
    contract: str | None = None,
    exclude: str | Sequence[str] = (),
    encoding: str | None = None,
) -> Export:
    """Read conversations from a Slack workspace export, alone or merged with captured webhooks.

    Nothing is read by default: name channels and the app here or in a settings file, which ``inspect_slack``
    proposes. Direct messages, group messages between members and canvases are never read.

    Args:
        path: Slack's own export, or one of ``slackdump export``: a zip or an unpacked folder.
        captures: Captured webhooks of the same time, as :func:`read_export` takes them.
        settings: A TOML file with the settings from ``channels`` to ``workspace_domain``.
        channels: Globs such as ``z-*`` or ``/regular expressions/`` for the names of chats' channels.
        app_ids: Ids of the app that writes visitors' messages (``A...``).
        bot_ids: Ids of its bot (``B...``).
        bot_users: Ids of its user (``U...``).
        lobby: Names or ids of channels where chats are announced; never read.
        bot_without_username: Author of the app's messages without a name: ``unknown``, ``visitor`` or
            ``notice``, which leaves them out.
        thread_replies: ``leave-out`` or ``keep``.
        split_on: The end of a conversation: ``channel_archive``, and optionally a silence such as ``gap=6h``.
        closed_only: If true, leave out conversations without an end.
        workspace_domain: The part of Slack's URL before ``.slack.com``, for links to the archive.
        kind: For captures, as in :func:`read_export`.
        undated_as: For captures, as in :func:`read_export`.
        fields: For captures, as in :func:`read_export`.
        redact: The redaction of personal values, as in :func:`read_export`.
        contract: The treatment of undocumented fields, as in :func:`read_export`.
        exclude: For captures, as in :func:`read_export`.
        encoding: For captures, as in :func:`read_export`.

    Raises:
        MissingPath: A path does not exist.
        CaptureError: The path is not a readable Slack export; the message describes it.
        UsageError: A setting is unknown, missing or invalid.
    """
    if settings is not None:
        if channels is not None:
            raise UsageError(
                "settings= names a file with all settings, so leave out channels= and the others."
            )
        chosen = SlackSettings.from_file(Path(settings))
    else:
        chosen = SlackSettings.of(
            {
                "channels": channels or (),
                "app_ids": app_ids,
                "bot_ids": bot_ids,
                "bot_users": bot_users,
                "lobby": lobby,
                "bot_without_username": bot_without_username,
                "thread_replies": thread_replies,
                "split_on": split_on,
                "closed_only": closed_only,
                "workspace_domain": workspace_domain,
            }
        )
    return Export(
        [] if captures is None else a_path_or_paths("captures", captures),
        ReadOptions.from_options(kind, undated_as, fields),
        FieldPolicy.from_options(redact, contract),
        exclude=[exclude] if isinstance(exclude, str) else exclude,
        encoding=encoding,
        slack=SlackHistory(Path(path), chosen),
    )


def _export_refused(name: str, download: str, *, is_beside: bool) -> UsageError:
    """Return the error for a Slack export among captures, whose members would be read as captures."""
    if is_beside:
        return UsageError(f"{name!r} is a second Slack export. Read one Slack export at a time.")
    return UsageError(
        f"{name!r} is a Slack export, not captured webhooks. {download}"
        + in_words(
            f"`chatlio-kit slack inspect {quoted(name)} --write slack.toml` proposes how to read it; then "
            "add --slack slack.toml.",
            "Read it with read_slack(); inspect_slack() proposes how.",
        )
    )
