"""How figures look, and how they become files: one style, safe colours, the same bytes each time."""

# pyright: reportUnknownMemberType=false
# matplotlib leaves the types of its **kwargs open.

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, ParamSpec, cast

from suitecase.errors import missing_extra
from suitecase.reports.document import shown
from suitecase.stats.wording import number_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "GRID", "INK", "MUTED", "PALETTE", "PAPER", "as_pdf", "as_png", "as_svg", "label", "new_axes", "number_ticks",
    "on_white", "styled",
]  # fmt: skip

Arguments = ParamSpec("Arguments")

PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito (2008), Color Universal Design, in the order of their contrast; without black, which is ink."""

INK: Final = "#1a1a1e"
MUTED: Final = "#6b6b76"
GRID: Final = "#dcdce2"
PAPER: Final = "#fffffe"
"""Off by a bit from white, so that a writer which replaces it by the page's own colour replaces nothing else."""

WIDTH_IN: Final = 6.8
"""Of a text column on A4 or Letter; a figure is not scaled there."""

STYLE: Final[dict[str, Any]] = {
    "axes.axisbelow": True, "axes.edgecolor": MUTED, "axes.facecolor": "none", "axes.grid": True,
    "axes.labelcolor": INK, "axes.labelsize": 9, "axes.linewidth": 0.8, "axes.spines.right": False,
    "axes.spines.top": False, "figure.facecolor": "none", "figure.constrained_layout.use": True, "font.size": 9,
    "grid.color": GRID, "grid.linewidth": 0.8, "legend.frameon": False, "lines.linewidth": 1.6,
    "savefig.facecolor": "none", "text.color": INK, "xtick.color": MUTED, "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5, "ytick.color": MUTED, "ytick.labelcolor": INK, "ytick.labelsize": 8.5,
    "pdf.fonttype": 42,  # fonts that journals take
    "svg.fonttype": "none",  # text stays text: small, searchable, and read aloud
    "svg.hashsalt": "suitecase",
    "text.parse_math": False,  # a name with two dollar signs is a name
}  # fmt: skip


@contextmanager
def style() -> Generator[None]:
    """The style, whatever the reader's own matplotlibrc says.

    Raises:
        SuitecaseError: If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise missing_extra("a figure", "analysis") from None
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A name may have characters that the font lacks: it is drawn with boxes there, and the table has the name.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        matplotlib.rcdefaults()
        cast(Any, matplotlib.rcParams).update(STYLE)
        yield


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """A function that draws in this style."""

    @functools.wraps(draw)
    def drawn(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with style():
            return draw(*args, **kwargs)

    return drawn


def new_axes(height_in: float, *, across: str = "x") -> tuple[Figure, Axes]:
    """A figure as wide as a page's text, with lines across one of its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in))
    axes = figure.subplots()
    axes.grid(visible=False, axis="y" if across == "x" else "x")
    return figure, axes


def number_ticks(axes: Axes, *which: str, signed: bool = True) -> None:
    """Ticks are written as all numbers are, or without their signs."""
    from matplotlib.ticker import FuncFormatter

    for name in which or ("x",):
        axis = getattr(axes, f"{name}axis")
        axis.set_major_formatter(FuncFormatter(tick_text if signed else size_text))


def tick_text(value: float, _place: object = None) -> str:
    """A tick's number: as short as it can be said."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return f"{value:.6g}".replace("-", "−")
    return number_text(value, 2)


def size_text(value: float, _place: object = None) -> str:
    """A tick's number without its sign."""
    return tick_text(abs(value))


def label(text: str, longest: int = 34) -> str:
    """A name that fits beside an axis: its middle left out if it is long."""
    text = shown(text)
    if len(text) <= longest:
        return text
    kept = longest - 1
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def as_svg(draw: Callable[[], Figure]) -> str:
    """A drawing as SVG without a background, with its texts as texts."""
    return saved(draw, "svg", {"Date": None, "Creator": "suitecase report"}).decode()


def on_white(svg: str) -> str:
    """A drawing for a page that may be dark and tells a picture nothing of it."""
    end = svg.index(">", svg.index("<svg")) + 1
    return f'{svg[:end]}<rect width="100%" height="100%" fill="white"/>{svg[end:]}'


def as_pdf(draw: Callable[[], Figure]) -> bytes:
    """A drawing as PDF with its fonts."""
    return saved(draw, "pdf", {"CreationDate": None, "Creator": "suitecase report", "Producer": None})


def as_png(draw: Callable[[], Figure], dots_per_inch: int = 200) -> bytes:
    """A drawing as PNG on white."""
    return saved(draw, "png", {"Software": "suitecase"}, dpi=dots_per_inch, facecolor="white")


def saved(draw: Callable[[], Figure], kind: str, metadata: dict[str, str | None], **how: Any) -> bytes:
    with style(), io.BytesIO() as file:
        draw().savefig(file, format=kind, metadata=metadata, **how)
        return file.getvalue()
