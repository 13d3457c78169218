"""What the pages of docs/ say is executed: `python3 dev.py docs`, and for one page `python3 dev.py docs -k items`.

pytest doesn't take it for a file of tests, so that the tests stay short: it is a check of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import HERE
from transcripts import run_blocks

COMPUTED = ["docs/statistics.md", "docs/which-test.md"]
"""Their Python blocks only compute, so this process runs them; what they print is the `text` block after each."""
ON_A_CLUSTER = ["docs/ray.md", "docs/slurm.md"]
"""Executed by `python3 dev.py clusters`."""
DOCUMENTS = sorted(
    name for p in HERE.glob("docs/*.md") if (name := str(p.relative_to(HERE))) not in [*COMPUTED, *ON_A_CLUSTER]
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_blocks_of_documents_run_as_written(document: str, tmp_path: Path) -> None:
    """Python and console blocks of a page, in order, in a fresh repository with the two files copied."""
    run_blocks(document, tmp_path)


@pytest.mark.parametrize("document", COMPUTED)
def test_blocks_that_compute_print_what_stands_below(document: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each block by itself, as a reader would copy it."""
    text = (HERE / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == text.count("```python")
    for code, shown in blocks:
        exec(compile(code, document, "exec"), {})
        assert (shown, code) == (capsys.readouterr().out, code)
