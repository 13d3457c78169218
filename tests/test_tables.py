"""Tables: what is written can be read back, nothing in them is executed, and their counts add up."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from asking import ask
from conftest import DEADLINE_S, HERE, Project, clean_environment
from forking import Forked
from hypothesis import given, settings
from hypothesis import strategies as st

from suitecase.errors import SuitecaseError
from suitecase.queries.sql import run_sql
from suitecase.rundir import read_run
from suitecase.tables import Table, attempt_rows, case_rows, metric_rows, run_rows, write_table
from suitecase.tables.duck import connect, load
from suitecase.tables.formats import harmless, to_csv, to_json, to_jsonl, to_latex, to_markdown

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
COLUMNS = st.sampled_from(
    [
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        FLOATS,
        TEXT,
        st.lists(FLOATS, max_size=3),
        st.lists(TEXT, max_size=3),
    ]
)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Rows whose columns are of one kind each, with gaps; names differ even if case does not count."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique_by=str.lower))
    kinds = {name: draw(COLUMNS) for name in names}
    rows = st.fixed_dictionaries({}, optional=kinds)
    return Table([{names[0]: draw(kinds[names[0]])}, *draw(st.lists(rows, max_size=5))])


def same(one: object, other: object) -> bool:
    """Equal, where NaN equals NaN and 1 is not True."""
    if type(one) is type(other) is list:
        ours, theirs = cast(list[object], one), cast(list[object], other)
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and one == other


@given(tables())
@settings(max_examples=60, deadline=None)
def test_csv_gives_back_every_cell(table: Table) -> None:
    """Floats in full, line breaks and quotes; an apostrophe is what defusing adds, and nothing else changes."""
    read = list(csv.reader(io.StringIO(to_csv(table), newline="")))
    assert read[0] == [harmless(name) for name in table.columns]
    assert len(read) == 1 + len(table)
    for row, cells in zip(table, read[1:], strict=True):
        for value, cell in zip(row, cells, strict=True):
            if value is None:
                assert cell == ""
            elif isinstance(value, float):
                assert same(float(cell), value)
            elif isinstance(value, list):
                assert same(json.loads(cell), cast(object, value))
            elif isinstance(value, str):
                assert cell in (value, f"'{value}")
            else:
                assert cell == str(value)


@given(st.text(st.sampled_from("=+-@\t\r\n ＝'a1"), max_size=6))
def test_no_cell_and_no_name_of_csv_is_a_formula(text: str) -> None:
    """As OWASP lists them, also behind spaces that a spreadsheet cuts off."""
    for cells in csv.reader(io.StringIO(to_csv(Table([{text: text, "n": -1}])), newline="")):
        begun = cells[0].lstrip()
        assert not begun or begun[0] not in "=+-@＝"
        assert cells[0][:1] not in ("\t", "\r", "\n")
    assert harmless(-1.5) == -1.5


@given(tables())
@settings(max_examples=60, deadline=None)
def test_json_lines_give_back_every_value_that_is_there(table: Table) -> None:
    """Strict JSON; what it cannot write is a string."""

    def refuse(constant: str) -> object:
        raise AssertionError(f"{constant} is no JSON")

    lines = to_jsonl(table).split("\n")[:-1]
    documents = [json.loads(line, parse_constant=refuse) for line in lines]
    whole = json.loads(to_json(table), parse_constant=refuse)
    for row, line, document in zip(table.dicts(), documents, whole, strict=True):
        assert {name for name, value in row.items() if value is not None} == line.keys()
        assert row.keys() == document.keys()
        for name, value in line.items():
            assert same(restored(value, row[name]), row[name])


def restored(written: Any, value: object) -> Any:
    if isinstance(value, list):
        return [restored(each, like) for each, like in zip(written, cast(list[object], value), strict=True)]
    return float(written) if isinstance(value, float) else written


@given(tables())
@settings(max_examples=15, deadline=None)
def test_parquet_gives_back_every_value(table: Table) -> None:
    """Types, NaN, infinities and lists survive; a column of one kind has the type of that kind."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, connect("this test") as connection:
        path = Path(folder) / "table.parquet"
        write_table(table, "parquet", path)
        cursor = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
        names = [str(column[0]) for column in cursor.description or ()]
        read = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    expected = list(table.dicts())
    assert names == table.columns
    for row, back in zip(expected, read, strict=True):
        for name, value in row.items():
            assert same(back[name], value), (name, value, back[name])


def test_columns_of_mixed_kinds_become_text_or_wider() -> None:
    """A metric that is a string in one case loses nothing in the others."""
    rows: list[dict[str, Any]] = [
        {"m": 0.5, "n": 1, "l": [], "A": 1, "big": 2**70},
        {"m": "diverged", "n": 2.5, "l": [1], "a": 2, "nested": {"k": [1]}},
        {"m": float("nan"), "n": float("inf"), "l": [0.5]},
    ]
    with connect("this test") as connection:
        load(connection, "rows", rows)
        read = connection.execute('SELECT m, n, l, "A", a_2, big, nested FROM rows').fetchall()
        types = {str(name): str(kind) for name, kind, *_ in connection.execute("DESCRIBE rows").fetchall()}
    assert types["m"] == types["nested"] == "VARCHAR"
    assert types["n"] == "DOUBLE"
    assert types["l"] == "DOUBLE[]"
    assert [row[0] for row in read] == ["0.5", "diverged", "NaN"]
    assert [row[1] for row in read] == [1.0, 2.5, math.inf]
    assert [row[2] for row in read] == [[], [1.0], [0.5]]
    assert [row[3:5] for row in read][:2] == [(1, None), (None, 2)]
    assert read[0][5] == 2.0**70
    assert json.loads(read[1][6]) == {"k": [1]}


def test_markdown_and_latex_hold_what_would_break_them() -> None:
    """Bars, line breaks, backslashes, percent signs."""
    table = Table([{"a|b": "x|y\nz", "n_%": 1}])
    assert to_markdown(table).splitlines() == ["| a\\|b | n_% |", "| --- | ---: |", "| x\\|y z | 1 |"]
    assert "n\\_\\% \\\\" in to_latex(table)
    assert "x|y z & 1" in to_latex(table)


WORK = """
import json, math
accuracy = config["x"] / 4 if config["x"] else "diverged"
(folder / "results.json").write_text(json.dumps({"accuracy": accuracy, "f1.macro": [1, 2]}))
lines = [
    {"event": "metric", "time": "2026-01-01T00:00:00.000Z", "attempt": 1, "name": "loss", "value": value, "step": step}
    for step, value in enumerate([0.5, "NaN", "-Infinity", 2])
]
(folder / "tracking.jsonl").write_text("".join(json.dumps(line) + "\\n" for line in lines) + '{"event": "met')
assert config["x"] != 3
"""


@pytest.fixture(scope="module")
def finished(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a run of four cases, of which one failed and one has a result that is a word."""
    project = Project(tmp_path_factory.mktemp("tables") / "project")
    shutil.copytree(template, project.root, symlinks=True)
    cases = f"[ExperimentCase(f'c{{n}}', Config(do={WORK!r}, x=n, name='=1+1')) for n in range(4)]"
    project.suite(cases)
    project.run_forked("-q")
    return project


def test_counts_add_up_between_the_tables(finished: Project) -> None:
    """Cases of the runs, attempts of the cases, and statuses of both."""
    runs = [read_run(path) for path in finished.runs()]
    (run,) = run_rows(runs)
    cases, attempts = list(case_rows(runs)), list(attempt_rows(runs))
    assert run["cases"] == len(cases) == sum(count for count in runs[0].counts.values()) == 4
    assert (run["succeeded"], run["failed"]) == (3, 1)
    assert sum(case["attempts"] for case in cases) == len(attempts)
    assert [case["result.accuracy"] for case in cases] == ["diverged", 0.25, 0.5, 0.75]
    values = [row["value"] for row in metric_rows(runs)]
    assert len(values) == 16
    assert math.isnan(values[1])
    assert values[2] == -math.inf


def test_table_speaks_all_formats(finished: Project) -> None:
    """CSV off a terminal; the others by name or by the ending of a file; one column by a pattern."""
    rows = list(csv.DictReader(io.StringIO(ask(finished, "table", "latest").stdout)))
    assert [row["config.name"] for row in rows] == ["'=1+1"] * 4
    assert [row["result.accuracy"] for row in rows] == ["diverged", "0.25", "0.5", "0.75"]
    metrics = json.loads(ask(finished, "table", "exp", "--metrics", "--json").stdout)
    assert [row["value"] for row in metrics[:4]] == [0.5, "NaN", "-Infinity", 2]
    chosen = ask(finished, "table", "exp", "--columns", "variant,result.*", "--format", "markdown").lines
    assert chosen[0] == "| variant | result.accuracy | result.f1.macro |"
    assert chosen[2] == "| c0 | diverged | [1, 2] |"
    for ending in ("csv", "jsonl", "tex", "md", "parquet"):
        done = ask(finished, "table", "exp", "-o", f"out.{ending}")
        assert (done.code, done.stdout, (finished.root / f"out.{ending}").stat().st_size > 100) == (0, "", True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rows", "case"], "--rows case: did you mean 'cases'?"),
        (["--format", "xls"], "--format xls: there are csv, json"),
        (["--format", "parquet"], "give a file to write it to"),
        (["-o", "table.xyz"], "its ending tells no format"),
        (["--columns", "variant,result.acuracy,zzz"], "no row has a column 'result.acuracy': did you mean"),
    ],
)
def test_wrong_use_of_table_is_told_in_a_sentence(finished: Project, arguments: list[str], said: str) -> None:
    """Exit code 2, and no traceback."""
    done = ask(finished, "table", "latest", *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_of_the_simple_original_stands_beside_a_current_one(finished: Project, tmp_path: Path) -> None:
    """It has configs alone: its rows have their columns, and nothing is said of how it went."""
    old = tmp_path / "exp" / "20200101_000000_abcdef0"
    for variant in ("c1", "c2"):
        (old / variant).mkdir(parents=True)
        shutil.copy(finished.run_dir / variant / "config.json", old / variant)
    done = ask(
        finished, "table", str(old), "latest", "--columns", "run,variant,status,config.x,result.accuracy", "--json"
    )
    rows = json.loads(done.stdout)
    assert [row["status"] for row in rows] == ["unknown"] * 2 + ["succeeded"] * 3 + ["failed"]
    assert [row["config.x"] for row in rows] == [1, 2, 0, 1, 2, 3]
    assert rows[0]["result.accuracy"] is None


def test_sql_over_all_tables(finished: Project) -> None:
    """Tables are there by name, empty ones too; a name with a dot is quoted; NaN is a number."""
    folder = finished.root / "results"

    def rows(sql: str) -> list[Mapping[str, Any]]:
        return list(run_sql(folder, sql))

    assert rows("SELECT status, count(*) AS n FROM cases GROUP BY 1 ORDER BY 2") == [
        {"status": "failed", "n": 1},
        {"status": "succeeded", "n": 3},
    ]
    assert rows("SELECT count(*) AS n FROM cases JOIN runs USING (run) JOIN attempts USING (run, variant)") == [
        {"n": 4}
    ]
    assert rows('SELECT max(TRY_CAST("result.accuracy" AS DOUBLE)) AS a FROM cases') == [{"a": 0.75}]
    assert rows("SELECT count(*) AS n FROM metrics WHERE isnan(value)") == [{"n": 4}]
    assert rows("SELECT key FROM items") == []
    named = ask(finished, "query", "--json")
    assert {"table": "cases", "column": "result.accuracy"} in json.loads(named.stdout)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT * FRM cases", "syntax error"),
        ("SELECT nope FROM cases", '"nope" not found'),
        ("SELECT result.accuracy FROM cases", 'Names with a dot need quotes: "result.accuracy".'),
        ("CREATE TABLE t (a INT)", "one statement such as SELECT"),
        ("SELECT 1; SELECT 2", "one statement such as SELECT"),
        ("SELECT * FROM read_text('suite.py')", "Cannot access file"),
        ("", "one statement such as SELECT"),
    ],
)
def test_sql_that_is_wrong_or_reaches_out_is_refused_in_a_sentence(finished: Project, sql: str, said: str) -> None:
    """Nothing is written, nothing else is read."""
    with pytest.raises(SuitecaseError) as caught:
        list(run_sql(finished.root / "results", sql))
    (problem,) = caught.value.problems
    assert said in problem
    assert "\n" not in problem


def test_query_on_the_command_line(finished: Project) -> None:
    """An answer as CSV off a terminal; a mistake as exit code 2."""
    done = ask(finished, "query", "SELECT variant, \"config.x\" FROM cases WHERE status = 'failed'")
    assert (done.code, done.lines) == (0, ["variant,config.x", "c3,3"])
    wrong = ask(finished, "query", "SELECT")
    assert wrong.code == 2
    assert "Traceback" not in wrong.stderr


def test_a_reader_that_goes_away_is_no_failure(finished: Project) -> None:
    """Real pipes, closed before the first line: exit code 0, and nothing on standard error."""
    environment = {**clean_environment(), "PYTHONPATH": str(HERE)}
    for arguments in (["table", "latest", "--metrics"], ["show", "latest"], ["ls"], ["query", "FROM range(200000)"]):
        for before in ("", "import os; os.environ['FORCE_COLOR'] = '1'; "):
            reader, writer = os.pipe()
            os.close(reader)
            code = f"{before}from suitecase.cli import main; main()"
            process = Forked(["-c", code, *arguments], finished.root, environment, stdout=writer)
            os.close(writer)
            _, errors = process.communicate(timeout=DEADLINE_S)
            assert (process.returncode, errors) == (0, ""), arguments


BY_BOTH = """
import sys
from pathlib import Path
from inspect_ai import eval as evaluate
from arithmetic_model import arithmetic_model
from arithmetic_task import sums
from suitecase.inspect_bridge.logs import from_header, header_by_inspect, header_of
for model in ("careful", "careless"):
    evaluate(sums(2, 5, 1), model=arithmetic_model(model), log_dir=sys.argv[1], display="none")
logs = sorted(Path(sys.argv[1]).glob("*.eval"))
fast = [from_header(path, header_of(path)) for path in logs]
assert len(logs) == 2 and all(log.status == "success" and log.scores and log.input_tokens for log in fast), fast
assert fast == [from_header(path, header_by_inspect(path)) for path in logs]
"""
BY_US = """
import sys
from pathlib import Path
from suitecase.inspect_bridge import read_eval_log, read_samples
sys.modules["inspect_ai"] = None
for path in Path(sys.argv[1]).glob("*.eval"):
    log, problem = read_eval_log(path)
    assert log is not None and log.completed_samples == len(list(read_samples(path))) == 5, problem
"""


def test_headers_of_inspects_logs_are_read_as_inspect_reads_them(tmp_path: Path) -> None:
    """The example's own logs: status, task, model, scores, counts, tokens, of each; without Inspect, too."""
    pytest.importorskip("inspect_ai")
    folders = os.pathsep.join([str(HERE), str(HERE / "experiments" / "arithmetic-inspect")])
    for script in (BY_BOTH, BY_US):
        command = [sys.executable, "-c", script, str(tmp_path)]
        environment = {**clean_environment(), "PYTHONPATH": folders}
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, timeout=DEADLINE_S)
        assert done.returncode == 0, done.stderr.decode()
