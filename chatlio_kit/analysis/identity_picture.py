"""The figure of an identity audit: coverage by kind on the left, graphs by size on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib import style
from matplotlib.ticker import PercentFormatter

from chatlio_kit.analysis.identity_graphs import LARGEST
from chatlio_kit.display.figure import STYLE, WIDTH, Picture
from chatlio_kit.display.palette import BLUE, GREEN, ORANGE, VERMILLION

if TYPE_CHECKING:
    from chatlio_kit.analysis.identity_audit import IdentityAudit

_COLORS = {"green": GREEN, "amber": ORANGE, "red": VERMILLION}
_BINS = (("1", 1, 1), ("2", 2, 2), ("3", 3, 3), ("4–10", 4, 10), ("11–50", 11, LARGEST))


def draw(audit: IdentityAudit) -> Picture:
    """Return the figure, with its numbers in the description."""
    shares = {kind: audit.identified.get(kind, 0) / count for kind, count in audit.events.items() if count}
    sizes = audit.graphs.sizes.items()
    graphs = {
        name: sum(count for size, count in sizes if least <= size <= most) for name, least, most in _BINS
    }
    graphs[f">{LARGEST}"] = audit.graphs.too_large
    title = f"{audit.coverage:.1%} of the events have an identity, and the verdict is {audit.light}"
    words = (
        f"{title}. Share of events with an identity: "
        + ", ".join(f"{kind.replace('_', ' ')} {share:.0%}" for kind, share in shares.items())
        + ". Graphs by number of identities: "
        + ", ".join(f"{name}: {count:,}" for name, count in graphs.items())
        + "."
    )
    with style.context(STYLE):
        picture = Picture(figsize=(WIDTH, 3.3), layout="constrained")
        picture.words = words
        picture.get_layout_engine().set(w_pad=0.14, h_pad=0.12)  # type: ignore[union-attr,call-arg]
        picture.suptitle(title, x=0.02, ha="left", fontsize=11.5)
        left, right = picture.subplots(1, 2)
        left.grid(axis="x")
        bars = left.barh(
            [kind.replace("_", " ") for kind in shares], list(shares.values()), color=_COLORS[audit.light]
        )
        left.bar_label(bars, labels=[f"{share:.0%}" for share in shares.values()], fontsize=8.5, padding=3)
        left.invert_yaxis()
        left.set_xlim(0, 1.16)
        left.set_xticks([0, 0.25, 0.5, 0.75, 1])
        left.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        left.set_title("events with an identity", fontsize=10, loc="left")
        right.grid(axis="y")
        columns = right.bar(list(graphs), list(graphs.values()), color=BLUE)
        columns[-1].set_color(VERMILLION)
        right.bar_label(columns, labels=[f"{count:,}" for count in graphs.values()], fontsize=8.5)
        right.margins(y=0.12)
        right.set_title("people, by number of their identities", fontsize=10, loc="left")
        return picture
