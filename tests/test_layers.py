"""The package's imports point one way, and what is public is listed."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "suitecase"

LAYERS = (
    {"errors", "ranges"},
    {"rundir", "stats", "design", "sandbox", "scaffold"},
    {"limits"},
    {"hedging"},
    {"ensembles"},
    {"items", "tracking"},
    {"cassettes"},
    {"inspect_bridge"},
    {"tables", "policies"},
    {"compare", "queries", "datasets", "traces", "launchers"},
    {"reports", "optimise"},
    {"cli", "board", "mcp_server"},
    {"__main__"},
)
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted(path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*.py"))
HEAVY = (
    "statsmodels",
    "matplotlib",
    "scipy",
    "pandas",
    "numpy",
    "inspect_ai",
    "duckdb",
    "rich",
    "tenacity",
    "aiolimiter",
    "typer",
    "pydantic",
)


def imports_of(path: Path) -> Iterator[str]:
    """The modules that a file imports when it runs, wherever in it; not those for type hints alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            assert node.module
            yield node.module


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_one_way(module: Path) -> None:
    """A part imports only from layers below its own, and nothing from the reference files.

    Launchers are the runner's plugins, and made of its types.
    """
    plugin = module.parts[1] == "launchers"
    for imported in imports_of(PACKAGE.parent / module):
        assert imported != "experiment_config", f"{module} imports {imported}"
        assert imported != "experiment_runner" or plugin, f"{module} imports {imported}"
        if imported.startswith("suitecase.") and len(module.parts) > 1:
            mine, other = module.parts[1].removesuffix(".py"), imported.split(".")[1]
            if mine not in ("__init__", other):
                assert HEIGHT[mine] > HEIGHT[other], f"{module} imports {imported}, which is not below it"


@pytest.mark.parametrize("module", [m for m in MODULES if m.name != "__main__.py"], ids=str)
def test_what_is_public_is_listed(module: Path) -> None:
    """Every module says what is public, and has it."""
    name = ".".join(module.with_suffix("").parts).removesuffix(".__init__")
    imported = importlib.import_module(name)
    assert "__all__" in vars(imported), f"{name} has no __all__"
    assert not [each for each in imported.__all__ if not hasattr(imported, each)]


LIGHT = (
    *("suitecase", "suitecase.rundir", "suitecase.tables", "suitecase.queries", "suitecase.stats"),
    *("suitecase.reports", "suitecase.hedging"),
)

# Each in a process of its own, so that none is blamed for what another one imports.
IMPORT_EACH = f"""
import json, os, sys
for module in {LIGHT!r}:
    if os.fork() == 0:
        __import__(module)
        print(json.dumps({{module: [name for name in {HEAVY!r} if name in sys.modules]}}))
        break
    os.wait()
"""


def test_importing_is_light() -> None:
    """What only reads imports no library that takes long."""
    done = subprocess.run([sys.executable, "-c", IMPORT_EACH], capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{module: []} for module in LIGHT]
