"""What needs an environment of its own: `nox -s newest_inspect` (`python -m pip install nox` brings the command)."""

from __future__ import annotations

import glob

import nox


@nox.session
def newest_inspect(session: nox.Session) -> None:
    """All that meets Inspect AI, with its newest release, whatever range pyproject.toml names; arguments go to pytest.

    Inspect has two releases a week, and pins nothing for those who build on it.
    """
    session.install("-e", ".[dev,examples,inspect,llm,analysis,query]")
    session.install("--upgrade", "inspect-ai")
    session.run("python", "-c", "from importlib.metadata import version; print('inspect-ai', version('inspect-ai'))")
    session.run("python", "-m", "pytest", *(session.posargs or sorted(glob.glob("tests/test_inspect_*.py"))))
