"""Steps to create the same connection by hand, in Adobe's and Chatlio's own screens.

Source: Create a Chatlio source connection and dataflow in the UI; Chatlio: webhooks, chat transcripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import orjson

from chatlio_kit.arguments import checked
from chatlio_kit.chatlio.catalogue import MESSAGES_KEY, nested_fields, sent_fields
from chatlio_kit.chatlio.kinds import SHAPE_OF, Kind
from chatlio_kit.chatlio.labels import MEANINGS, label_of
from chatlio_kit.connection.mapping_check import PAYLOADS
from chatlio_kit.connection.resources.mappings import Mapping, mappings
from chatlio_kit.connection.resources.names import WEBHOOK_FIELDS, ResourceNames, Role, in_words
from chatlio_kit.connection.resources.people import People
from chatlio_kit.display import Sheet
from chatlio_kit.errors import OutputError

URL_FORM = "{streaming endpoint}?x-adobe-flow-id={dataflow ID}"

_SOURCE_WORDS = {"ATTRIBUTE": "source field", "EXPRESSION": "calculated field", "STATIC": "calculated field"}


@dataclass(frozen=True)
class ManualDataflow:
    """The entries in the screens for one kind of webhook.

    Attributes:
        kind: The kind.
        dataflow: Name of the dataflow, the same as in the plan.
        webhook_field: Field in Chatlio for its URL.
        sample: A record to upload as sample data; all values are invented.
        mappings: The mappings to enter.
    """

    kind: Kind
    dataflow: str
    webhook_field: str
    sample: dict[str, Any]
    mappings: tuple[Mapping, ...]

    @property
    def file_name(self) -> str:
        """The name of the sample's file."""
        return f"{self.kind}.json"

    @property
    def sample_text(self) -> str:
        """The sample as indented JSON."""
        return orjson.dumps(self.sample, option=orjson.OPT_INDENT_2).decode()

    def sheet(self) -> Sheet:
        """Return the mappings as a table."""
        rows = [
            (
                _as_typed(mapping),
                _SOURCE_WORDS[mapping.source_type],
                mapping.destination,
                "may be left out"
                if "." in mapping.destination
                else "",  # _id, timestamp and eventType are not required
            )
            for mapping in self.mappings
        ]
        title = f"Mappings of {in_words(self.kind)}: {self.file_name}, for the dataflow {self.dataflow}"
        return Sheet(title, ("source", "kind of source", "target", ""), rows)


@dataclass(frozen=True, repr=False)
class ManualSteps:
    """Everything to type and choose for each kind, without secrets.

    Attributes:
        name: The connection's name.
        tenant_id: The tenant; its fields are under an underscore and this id.
        kinds: The kinds of webhook to connect.
        people: The identities in the events, and their use in Profile.
    """

    name: str
    tenant_id: str
    kinds: tuple[Kind, ...]
    people: People = field(default_factory=People)

    @property
    def flows(self) -> tuple[ManualDataflow, ...]:
        """The dataflow of each kind."""
        naming = ResourceNames(self.name)
        return tuple(
            ManualDataflow(
                kind=kind,
                dataflow=naming.own("dataflow", Role.LIVE, kind),
                webhook_field=WEBHOOK_FIELDS[kind],
                sample=PAYLOADS[SHAPE_OF[kind]],
                mappings=mappings(Role.LIVE, kind, f"_{self.tenant_id}", self.people),
            )
            for kind in self.kinds
        )

    @property
    def before(self) -> tuple[str, ...]:
        """The prerequisites."""
        naming = ResourceNames(self.name)
        return (
            "A Chatlio account with a widget whose settings you may change.",
            "An Experience Platform sandbox whose organisation is offered the Chatlio source, which is beta.",
            "A role that includes the sandbox, with Manage Schemas, Manage Datasets and Manage Sources; for "
            "commands and notebooks also a project of the Adobe Developer Console with an OAuth "
            "server-to-server credential that has a product profile and this role.",
            f"The schema {naming.shared('schema')!r} of the class XDM ExperienceEvent, and its dataset "
            f"{naming.shared('dataset')!r}. Connecting without webhooks creates both: "
            f"plan_connection(platform, {self.name!r}, webhooks=[]).apply().",
        )

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps for each kind, one dataflow after another."""
        dataset = ResourceNames(self.name).shared("dataset")
        return (
            "In Experience Platform open Sources, Catalog, Marketing automation; at Chatlio choose Add data.",
            "Upload the sample file of the kind; the preview shows it as a row. Next.",
            f"Choose the existing dataset {dataset!r}, name the dataflow as in "
            "the table, and turn on partial ingestion and error diagnostics if they are offered. Next.",
            "Remove the mappings that are suggested and enter those of the kind's table: a source field is "
            "picked from the sample, a calculated field is pasted unchanged. Next, then Finish.",
            "Open the dataflow under Sources, Dataflows: the panel next to its runs shows Dataflow ID and "
            "Streaming endpoint.",
            f"Put the two together: {URL_FORM}. It is a secret: anyone who has it can write to the dataset.",
            "Wait five minutes: events before that may be lost without an error.",
            "In Chatlio open the widget's settings, tab Behavior, section Webhooks and post-chat actions; "
            "paste the URL into the kind's field. Transcripts also have a box to tick.",
            "Check: hold a chat on your site and find it in Chatlio under Reports, Chat History; within an "
            "hour it is in the preview of the dataset, and the dataflow shows a run for that hour.",
        )

    @checked()
    def write_samples(self, folder: Path | str) -> list[Path]:
        """Write the sample of each kind to its own file, for the upload.

        Raises:
            OutputError: A file cannot be written.
        """
        target = Path(folder)
        written = []
        try:
            target.mkdir(parents=True, exist_ok=True)
            for flow in self.flows:
                path = target / flow.file_name
                path.write_text(flow.sample_text + "\n", encoding="utf-8")
                written.append(path)
        except OSError as error:
            raise OutputError(
                f"The samples could not be written to {target}: {error.strerror or error}. Choose a folder "
                "that you can write to."
            ) from error
        return written

    def sheets(self) -> Iterator[Sheet]:
        """Yield the tables in reading order: prerequisites, steps, URLs, mappings."""
        yield Sheet("Before you begin", ("", ""), list(_numbered(self.before)))
        yield Sheet("For each kind, one dataflow", ("", ""), list(_numbered(self.steps)))
        yield Sheet(
            "Which URL goes into which field of Chatlio's tab Behavior",
            ("field in Chatlio", "URL of the dataflow", "sample file"),
            [(flow.webhook_field, flow.dataflow, flow.file_name) for flow in self.flows],
            (f"Form of the URL: {URL_FORM}",),
        )
        for flow in self.flows:
            yield flow.sheet()
        yield Sheet(
            "Data usage labels that a data steward expects, in the schema's screen, tab Labels",
            ("field", "label", "because it"),
            [(f"_{self.tenant_id}.{path}", label, MEANINGS[label]) for path, label in _labels()],
        )

    def __repr__(self) -> str:
        samples = (f"Sample {flow.file_name}\n{flow.sample_text}" for flow in self._distinct())
        return "\n\n".join([*map(str, self.sheets()), *samples])

    def _repr_html_(self) -> str:
        samples = (
            f"<details><summary>Sample {escape(flow.file_name)}</summary>"
            f"<pre>{escape(flow.sample_text)}</pre></details>"
            for flow in self._distinct()
        )
        return "".join([*(sheet._repr_html_() for sheet in self.sheets()), *samples])

    def _distinct(self) -> Iterator[ManualDataflow]:
        """Yield the first flow of each sample: three kinds share theirs."""
        seen = set()
        for flow in self.flows:
            if SHAPE_OF[flow.kind] not in seen:
                seen.add(SHAPE_OF[flow.kind])
                yield flow


def _labels() -> Iterator[tuple[str, str]]:
    """Yield path and label of every field that has one, including those in messages."""
    for field_ in sent_fields():
        if label := label_of(field_):
            yield str(field_.xdm), label
    for field_ in nested_fields():
        if label := label_of(field_):
            yield f"chatlio.{MESSAGES_KEY}[].{field_.xdm}", label


def _numbered(sentences: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((f"{number}.", sentence) for number, sentence in enumerate(sentences, 1))


def _as_typed(mapping: Mapping) -> str:
    """Format a source as it is entered; a constant is a calculated field in quotes."""
    return f'"{mapping.source}"' if mapping.source_type == "STATIC" else mapping.source
