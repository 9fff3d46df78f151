"""Draw a connection: its objects and how they are related."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from chatlio_kit.chatlio.kinds import Kind
from chatlio_kit.connection.resources.names import ResourceNames, Role, in_words
from chatlio_kit.counting import counted
from chatlio_kit.display.diagram import Canvas, diagram
from chatlio_kit.display.figure import WIDTH, Picture
from chatlio_kit.display.palette import BLUE, GREEN, ORANGE, PURPLE, QUIET, VERMILLION

_ROW, _GAP, _HEAD, _FOOT = 0.62, 0.14, 1.12, 0.5
_KIND, _FLOW, _DATASET = 1.55, 4.35, 1.35
_LEFT, _BETWEEN = 0.18, 0.36
_STEP, _INSIDE = 1.25, 0.38
_STEPS = ("source connection", "mapping set", "target connection")
_COLORS = (ORANGE, PURPLE, GREEN)


@dataclass(frozen=True)
class Diagram:
    """The diagram of a connection.

    Attributes:
        name: The connection's name.
        dataflows: Role and kind of each dataflow, from the top.
        missing: Names of the objects that do not exist yet.
    """

    name: str
    dataflows: Sequence[tuple[Role, Kind]]
    missing: Collection[str] = ()

    @property
    def description(self) -> str:
        """A description of the diagram, as alternative text."""
        naming = ResourceNames(self.name)
        live = [in_words(kind) for role, kind in self.dataflows if role is Role.LIVE]
        history = [in_words(kind) for role, kind in self.dataflows if role is Role.HISTORY]
        sentences = [f"Drawing of the connection {self.name}."]
        if live:
            sentences.append(f"Each of Chatlio's webhooks posts to its own URL: {', '.join(live)}.")
        if history:
            sentences.append(f"Captured files pass through one dataflow for each kind: {', '.join(history)}.")
        sentences.append(
            "Each dataflow joins a source connection, a mapping set and a target connection, and lands in "
            f"the {naming.shared('dataset')}. Its rows have the shape of the {naming.shared('schema')}, "
            f"which takes its fields from the {naming.shared('field group')}."
        )
        if self.missing:
            sentences.append(f"Not created yet: {counted(len(self.missing), 'object')}.")
        return " ".join(sentences)

    def picture(self) -> Picture:
        """Draw the diagram."""
        height = _HEAD + _FOOT + len(self.dataflows) * (_ROW + _GAP)
        with diagram(height, self.description) as canvas:
            for row, (role, kind) in enumerate(self.dataflows, 1):
                self._draw_dataflow(canvas, role, kind, height - _HEAD - row * (_ROW + _GAP) + _GAP)
            self._draw_shared(canvas, height)
            self._draw_legend(canvas)
        return canvas.picture

    def _draw_dataflow(self, canvas: Canvas, role: Role, kind: Kind, bottom: float) -> None:
        naming, middle = ResourceNames(self.name), bottom + _ROW / 2
        source = "webhook, own URL" if role is Role.LIVE else "captured files"
        canvas.box((_LEFT, bottom, _KIND, _ROW), in_words(kind), source)
        flow = _LEFT + _KIND + _BETWEEN
        canvas.arrow((_LEFT + _KIND + 0.03, middle), (flow - 0.03, middle))
        canvas.box(
            (flow, bottom, _FLOW, _ROW),
            color=BLUE,
            fill="#F3F8FB",
            dashed=naming.own("dataflow", role, kind) in self.missing,
        )
        for step, (thing, color) in enumerate(zip(_STEPS, _COLORS, strict=True)):
            left = flow + 0.1 + step * (_STEP + 0.2)
            dashed = naming.own(thing.removesuffix(" connection"), role, kind) in self.missing
            canvas.box(
                (left, middle - _INSIDE / 2, _STEP, _INSIDE), color=color, fill="#FFFFFF", dashed=dashed
            )
            canvas.text((left + _STEP / 2, middle), thing)
            if step:
                canvas.arrow((left - 0.18, middle), (left - 0.02, middle))
        end = flow + _FLOW
        canvas.arrow((end + 0.03, middle), (WIDTH - _LEFT - _DATASET - 0.03, middle))

    def _draw_shared(self, canvas: Canvas, height: float) -> None:
        naming = ResourceNames(self.name)
        left = WIDTH - _LEFT - _DATASET
        top = height - _HEAD
        canvas.box(
            (left, _FOOT + _GAP, _DATASET, max(_ROW, top - _FOOT - _GAP)),
            "dataset",
            "a row\nfor each event",
            color=BLUE,
            dashed=naming.shared("dataset") in self.missing,
        )
        across = 1.95
        for thing, caption, x in (
            ("schema", "the shape of a row", left + _DATASET - across),
            ("field group", "Chatlio's fields and types", left + _DATASET - 2 * across - 0.55),
        ):
            canvas.box(
                (x, top + 0.36, across, _ROW),
                thing,
                caption,
                color=QUIET,
                dashed=naming.shared(thing) in self.missing,
            )
        schema = left + _DATASET - across
        canvas.arrow((schema - 0.52, top + 0.36 + _ROW / 2), (schema - 0.03, top + 0.36 + _ROW / 2))
        middle = left + _DATASET / 2
        canvas.arrow((middle, top + 0.33), (middle, top + 0.03))

    def _draw_legend(self, canvas: Canvas) -> None:
        canvas.text(
            (_LEFT + _KIND + _BETWEEN, 0.24), "each blue frame is a dataflow", color=BLUE, align="left"
        )
        if self.missing:
            canvas.text((_LEFT, 0.24), "dashed: does not exist yet", color=VERMILLION, align="left")
