"""A report as one HTML file: figures inside, no script, light and dark, for screens, paper and screen readers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from suitecase.errors import missing_extra
from suitecase.reports.document import Document, FigureBlock
from suitecase.reports.figures.style import GRID, INK, MUTED, PALETTE, PAPER, as_svg

__all__ = ["page_svg", "to_html"]

TEMPLATES: Final = Path(__file__).parent / "templates"

PAGE_COLOURS: Final = {
    INK: "currentColor", MUTED: "var(--muted)", GRID: "var(--rule)", PAPER: "var(--paper)",
    **{colour.lower(): f"var(--figure-{place})" for place, colour in enumerate(PALETTE)},
}  # fmt: skip
"""What a figure's inks become in a page, so that it is dark where the page is."""


def to_html(document: Document, svg: Mapping[str, str] | None = None) -> str:
    """The whole report.

    Args:
        svg: The figures as SVG by name, if they are drawn already.

    Raises:
        SuitecaseError: If Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise missing_extra("an HTML report", "analysis") from None

    def drawn(figure: FigureBlock) -> Any:
        found = (svg or {}).get(figure.name) or as_svg(figure.draw)
        return Markup(page_svg(found, figure))  # matplotlib has escaped its texts

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["kind"] = lambda block, name: type(block).__name__ == name  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    return environment.get_template("report.html.j2").render(document=document, drawn=drawn)


def page_svg(svg: str, figure: FigureBlock) -> str:
    """An SVG document as an element of a page: with the page's colours, and names that no other figure has."""
    body = svg[svg.index("<svg") :]
    body = re.sub(
        r"<metadata>.*?</metadata>|<style type=\"text/css\">.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL
    )
    body = re.sub(r'(\bid="|\bhref="#|url\(#)', rf"\g<1>{figure.name}-", body)
    for ink, replacement in PAGE_COLOURS.items():
        body = body.replace(ink, replacement)
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", body)  # the page's own font
    width = re.search(r'<svg [^>]*?width="([\d.]+)pt"', body)
    head = f'<svg role="img" aria-labelledby="{figure.name}-caption" style="max-width: {width[1] if width else 500}pt"'
    opened = re.sub(r'\s(?:width|height)="[\d.]+pt"', "", body[: body.index(">")])
    return head + opened.removeprefix("<svg") + body[body.index(">") :]
