"""What needs an environment of its own: `nox -s newest_inspect`, `nox -s torch` (`pip install nox` brings nox)."""

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


@nox.session
def torch(session: nox.Session) -> None:
    """PyTorch, warm and on a Slurm cluster if that can be had: too large for the environment of the tests.

    Arguments go to pip.
    """
    session.install("-e", ".[dev]")
    session.install(*(session.posargs or ["torch", "numpy"]))
    session.run(
        "python",
        "-m",
        "pytest",
        "-m",
        "cluster or not cluster",
        "tests/test_warm.py",
        "tests/test_slurm_cluster.py",
        "-k",
        "torch",
    )
