"""Reports on what a comparison of runs found: Markdown, HTML, LaTeX, notebooks, CSV and JSON from one document.

    make_document    from a study to a document: sections of prose, tables, figures and claims
    write_report     its files, in the formats that are asked for

They need the extra `analysis`; importing this package imports none of it.
"""

from __future__ import annotations

from suitecase.reports.contents import make_document
from suitecase.reports.document import Document
from suitecase.reports.writing import DEFAULT_FORMATS, FORMATS, write_report

__all__ = ["DEFAULT_FORMATS", "FORMATS", "Document", "make_document", "write_report"]
