"""Reports: every format says the same numbers, whatever names the conditions have, and the same bytes each time."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest
from asking import ask
from conftest import HERE, Project, clean_environment
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_runs import RecordedCase, RecordedLog, record_run
from studies import HOSTILE, make_study

from experiment_runner import hook_problems
from suitecase.compare import Study
from suitecase.errors import SuitecaseError
from suitecase.policies import Report
from suitecase.policies.report import FORMATS as FORMATS_OF_HOOK
from suitecase.reports import FORMATS, figures, make_document, write_report
from suitecase.reports.claims import claim_of
from suitecase.reports.costs import improvement_prices
from suitecase.reports.document import Claim, Points, Section, TableBlock, shown
from suitecase.reports.latex_text import latex_text
from suitecase.reports.limitations import limitations
from suitecase.reports.making import study_of
from suitecase.reports.markdown import markdown_text, to_markdown
from suitecase.reports.references import WORKS, works_named
from suitecase.reports.result_tables import comparison_rows
from suitecase.reports.writing import report_files
from suitecase.rundir import Run, read_run
from suitecase.stats import Interval
from suitecase.stats.calibration import calibration_of
from suitecase.stats.evaluations import rank_bands
from suitecase.stats.wording import number_text

NUMBER = re.compile(r"−?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+−]?\d+)?|(?<![\w.])\.\d+")


@pytest.fixture(scope="module")
def study() -> Study:
    """Four conditions, two metrics, 60 items."""
    return make_study(n=60)


@pytest.fixture(scope="module")
def files(study: Study) -> dict[str, bytes]:
    """All files of a report on it."""
    return report_files(study, (), FORMATS)


@pytest.fixture(scope="module")
def hostile_study() -> Study:
    """Conditions whose names do something wherever they aren't made harmless."""
    return make_study(HOSTILE, n=12, metrics=["accuracy"])


@pytest.fixture(scope="module")
def hostile(hostile_study: Study) -> dict[str, bytes]:
    """All files of a report on them."""
    return report_files(hostile_study, (), FORMATS)


# --- Numbers ---------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 60))
def test_a_sentence_has_the_numbers_of_its_row(seed: int, n: int) -> None:
    """Every number of a claim stands in the tables, written in the same way."""
    study = make_study(("a", "b", "c"), n=n, seed=seed)
    document = make_document(study)
    cells = {
        number
        for section in document.sections
        if section.name.startswith("results")
        for block in section.blocks
        if isinstance(block, TableBlock)
        for text in (*block.columns, *(cell for row in block.rows for cell in row), block.note)
        for number in NUMBER.findall(text)
    }
    for each in study.comparisons:
        missing = [number for number in NUMBER.findall(each.sentence()) if number not in cells]
        assert not missing, (each.sentence(), missing)


def test_verdict_p_and_interval_agree_in_the_table(study: Study) -> None:
    """p < α exactly where the interval that is printed excludes 0, in all of 200 comparisons."""
    compared = [each for seed in range(34) for each in make_study(seed=seed, n=40).comparisons]
    for each, row in zip(compared, comparison_rows(compared), strict=True):
        low, high = (float(text.replace("−", "-")) for text in re.findall(r"−?[\d.]+(?:e[+−]?\d+)?", row[5]))
        below = row[7] == "< .001" or float(row[7]) < each.alpha
        assert below == (low > 0 or high < 0) == row[8].startswith(("higher", "lower")), row


def test_the_same_numbers_stand_in_every_format(study: Study, files: dict[str, bytes]) -> None:
    """The sentence of a comparison is the same text everywhere, but for its escapes."""
    sentence = study.comparisons[1].sentence()
    plain = {
        "report.md": re.sub(r"\\([^\w\s])", r"\1", files["report.md"].decode()),
        "report.html": text_of(files["report.html"].decode()),
        "report.ipynb": re.sub(r"\\\\([^\w\s])", r"\1", files["report.ipynb"].decode()),
        "analysis.json": files["analysis.json"].decode(),
    }
    for name, text in plain.items():
        assert sentence in text, name
    assert latex_text(sentence) in files["report.tex"].decode()


def test_a_claim_says_whether_it_is_good(study: Study) -> None:
    """More accuracy is better, more latency worse; without direction nobody can say."""
    moods = {each.metric: claim_of(each).mood for each in study.comparisons if each.verdict == "higher"}
    assert moods == {"accuracy": "better", "latency_s": "worse"}
    assert claim_of(replace(study.comparisons[-1], better="")).mood == "differs"
    assert claim_of(replace(study.comparisons[-1], verdict="equivalent")).mood == "equivalent"
    assert claim_of(replace(study.comparisons[-1], verdict="not tested")).mood == "open"


def test_the_price_of_a_point_is_extra_cost_over_improvement(study: Study) -> None:
    """By hand: 0.18 − 0.02 USD for the difference in accuracy; not for what is worse, or whose interval has 0."""
    each = study.comparisons[1]
    price = {condition.name: condition.cost_usd or 0.0 for condition in study.conditions}
    told = improvement_prices(study, price, "USD")
    assert [sentence.partition(" is")[0] for sentence in told] == ["steps", "examples"]
    assert f": {number_text(0.16 / each.difference / 100)} USD per percentage point" in told[0]
    cheaper = improvement_prices(study, {**price, "steps": 0.01}, "USD")
    assert "takes no more: 0.0100 USD less per case" in cheaper[0]


# --- Contents --------------------------------------------------------------------------------------------------------


def test_a_report_has_all_its_parts(study: Study) -> None:
    """In an order in which a person reads."""
    names = [section.name for section in make_document(study).sections]
    assert names == [
        "summary", "conditions", "design", "results", "results-1", "results-2", "cost", "limitations", "methods",
        "code", "reproduce", "checklist", "references",
    ]  # fmt: skip


def points_of(section: Section) -> str:
    return "\n".join(item for block in section.blocks if isinstance(block, Points) for item in block.items)


def test_limitations_are_found(study: Study) -> None:
    """Each from what it is about; and none where there is none."""
    pair = study.comparisons[0]
    wrong = replace(
        study,
        comparisons=(
            replace(pair, paired=False, n=(8, 7), fragile=True, warnings=("Clusters were ignored.",)),
            replace(pair, first="other", warnings=()),
        ),
        correction="none",
        warnings=("Interim: it goes on.",),
        runs=(replace(study.runs[0], code="a1b2c3d-dirty"),),
    )
    found = points_of(limitations(wrong))
    for part in (
        "Interim: it goes on.", "role: Clusters were ignored.", "role (7 items)", "role in accuracy are not paired",
        "is fragile", "2 comparisons are not corrected", "No plan was recorded", "was not committed",
    ):  # fmt: skip
        assert part in found, part
    sound = replace(
        study,
        warnings=(),
        comparisons=tuple(replace(each, warnings=()) for each in study.comparisons),
        plan={"path": "p"},
    )
    assert points_of(limitations(sound)) == ""


def test_without_a_baseline_a_report_describes(study: Study, tmp_path: Path) -> None:
    """And claims nothing; also with a single condition, and with no value at all."""
    described = replace(study, comparisons=(), baseline="", differences={}, correction="none")
    document = make_document(described)
    assert not [block for section in document.sections for block in section.blocks if isinstance(block, Claim)]
    assert "tests nothing" in to_markdown(document)
    alone = replace(described, conditions=study.conditions[:1], descriptions=study.descriptions[:1])
    assert "one condition" in to_markdown(make_document(alone))
    empty = replace(described, descriptions=(), conditions=(), metrics=(), runs=())
    write_report(empty, tmp_path, formats=FORMATS)
    assert (tmp_path / "report.html").exists()


def references_in(file: Path) -> Iterator[str]:
    """Texts such as “Welch 1947, Biometrika 34” and “Miettinen & Nurminen (1985)”."""
    reference = re.compile(r"[A-ZŠ][\w’-]+( (et al\.|& [\w’-]+|and [\w’-]+))? \(?(18|19|20)\d\d\b")
    texts = (node.value for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Constant))
    return (text for text in texts if isinstance(text, str) and reference.match(text))


def test_methods_are_cited_by_what_results_name(study: Study) -> None:
    """By the names of methods, and by author and year; what isn't known is cited as it stands."""
    keys = [work.key for work in works_named(["Tango", "correction holm", "mid-p McNemar test", "score test (Wilson)"])]
    assert keys == ["tango1998", "holm1979", "mcnemar1947", "fagerland2013", "wilson1927"]
    titles = [work.title for work in works_named(["Cochran (1977)", "Satterthwaite (1946)", "Hyndman & Fan 1996"])]
    assert [title.split()[0] for title in titles] == ["Sampling", "An", "Sample"]
    (welch,) = works_named(["Welch 1947, Biometrika 34:28–35"])
    assert welch.doi == "10.1093/biomet/34.1-2.28"
    (other,) = works_named(["Hyndman & Fan 1996, The American Statistician 50:361–365"])
    assert (other.key, other.surnames) == ("hyndman1996", ["Hyndman", "Fan"])
    assert len({work.key for work in WORKS}) == len(WORKS)
    named = {text for file in (HERE / "suitecase" / "stats").glob("*.py") for text in references_in(file)}
    assert len(named) > 50
    assert [text for text in named if any(work.title == "Untitled" for work in works_named([text]))] == []
    entries = "\n".join(work.bibtex() for work in WORKS)
    assert entries.count("{") == entries.count("}")
    assert r"Statistics \& Probability Letters" in entries


# --- Formats ---------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Checks that tags are balanced, and collects what a reader and a browser see."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src", "xlink:href"):
                self.links.append(str(value))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & {*self.open}:
            self.text.append(data)


def page_of(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert not page.open
    return page


def text_of(html: str) -> str:
    return "".join(page_of(html).text)


def test_html_is_one_whole_file(files: dict[str, bytes], hostile: dict[str, bytes]) -> None:
    """Balanced, without a script or a link to elsewhere, ids unique, tables with captions and scopes."""
    for html in (files["report.html"].decode(), hostile["report.html"].decode()):
        page = page_of(html)
        assert not {"script", "iframe", "object", "img", "textarea", "link"} & {*page.tags}
        assert len(page.ids) == len({*page.ids})
        assert page.links
        assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
        assert page.tags.count("table") == page.tags.count("caption") > 4
        assert html.count('<th scope="row">') > 10
        assert page.tags.count("svg") == page.tags.count("figure") > 4
    text = text_of(hostile["report.html"].decode())
    for name in HOSTILE:
        assert shown(name) in text, name


def test_hostile_names_are_harmless_in_markdown(hostile_study: Study, hostile: dict[str, bytes]) -> None:
    """Read by a parser of GitHub's Markdown: no tag, link, emphasis or code from a name, and every name is there."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    tokens = parser.parse(hostile["report.md"].decode())
    inline = [child for token in tokens for child in token.children or []]
    kinds = {token.type for token in inline}
    assert kinds <= {"text", "text_special", "softbreak", "strong_open", "strong_close", "em_open", "em_close", "image"}
    assert [token.content.strip() for token in tokens if token.type == "html_block"] == [
        "<!-- Made by suitecase report. -->"
    ]
    cells = {"".join(child.content for child in token.children or []) for token in tokens if token.type == "inline"}
    for condition in hostile_study.conditions[1:]:
        assert shown(condition.name).strip() in cells, condition.name


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20))
def test_any_text_is_only_text_in_markdown(text: str) -> None:
    """As a paragraph of its own."""
    from markdown_it import MarkdownIt

    text = shown(text).strip() or "x"
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown_text(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {child.type for child in tokens[1].children or []} <= {"text", "text_special"}


def test_latex_compiles(hostile: dict[str, bytes], files: dict[str, bytes], tmp_path: Path) -> None:
    """With pdfLaTeX, whatever the names are, and every page is written."""
    engine = shutil.which("pdflatex")
    if engine is None:
        pytest.skip(
            "NO TEX IS INSTALLED: that reports compile was not tested (apt-get install texlive-latex-recommended)"
        )
    for number, made in enumerate((files, hostile)):
        folder = tmp_path / str(number)
        for name, content in made.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        done = subprocess.run(
            [engine, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "report.tex"],
            cwd=folder, capture_output=True, text=True, errors="replace", timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]
        assert "Missing character" not in (folder / "report.log").read_text(errors="replace")
        assert b"Output written on report.pdf" in done.stdout.encode()


def test_every_character_becomes_harmless_latex() -> None:
    """Backslashes come from us alone, and braces are balanced."""
    for code in [*range(32, 0x250), 0x2012, 0x3B1, 0x1F389, 0x10FFFF]:
        made = latex_text(chr(code))
        assert made.count("{") - made.count(r"\{") == made.count("}") - made.count(r"\}"), made
        assert not re.search(r"(?<!\\)[$&#%_^~]", made) or made == "~", made
    assert latex_text("--x,,") == r"-{}-x,{},"


def test_csv_and_json_are_safe_and_strict(files: dict[str, bytes], hostile: dict[str, bytes]) -> None:
    """No cell begins a formula, and no constant is beyond JSON."""

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    for made in (files, hostile):
        rows = list(csv.reader(io.StringIO(made["results.csv"].decode())))
        assert len({len(row) for row in rows}) == 1
        assert not [cell for row in rows for cell in row if re.match(r"[=+@\t]|-(?![\d.])", cell)]
        analysis = json.loads(made["analysis.json"], parse_constant=refuse)
        assert analysis["comparisons"][0]["sentence"].count("CI") == 1
    assert json.loads(hostile["analysis.json"])["conditions"][0]["name"] == HOSTILE[0]


def test_an_unbounded_interval_is_written_everywhere(study: Study) -> None:
    """A one-sided interval has an infinite end: null in JSON, ∞ in words, an arrow in figures."""
    one_sided = Interval(-0.5, float("inf"), 0.95, "t")
    changed = replace(study, comparisons=tuple(replace(each, interval=one_sided) for each in study.comparisons))
    made = report_files(changed, (), ("md", "json"))
    assert "\\[−0.500, ∞\\]" in made["report.md"].decode()
    assert json.loads(made["analysis.json"])["comparisons"][0]["interval"]["high"] is None


def test_the_same_study_gives_the_same_bytes() -> None:
    """In another process, under another hash seed: all files, figures included."""
    script = (
        "import sys, hashlib; sys.path.insert(0, 'tests')\n"
        "from studies import HOSTILE, make_study\nfrom suitecase.reports.writing import report_files, FORMATS\n"
        "made = report_files(make_study(HOSTILE[:3], n=8, metrics=['accuracy']), (), FORMATS)\n"
        "print(*(f'{name} {hashlib.sha256(each).hexdigest()}' for name, each in made.items()), sep='\\n')"
    )
    from hashlib import sha256

    root = Path(__file__).resolve().parent.parent
    env = {**clean_environment(), "PYTHONPATH": str(root), "PYTHONHASHSEED": "7", "MPLBACKEND": "svg"}
    done = subprocess.run([sys.executable, "-c", script], cwd=root, env=env, capture_output=True, text=True, check=True)
    told = dict(line.split(" ") for line in done.stdout.splitlines())
    files = report_files(make_study(HOSTILE[:3], n=8, metrics=["accuracy"]), (), FORMATS)
    assert told == {name: sha256(content).hexdigest() for name, content in files.items()}


def test_the_notebook_executes(study: Study, tmp_path: Path) -> None:
    """It loads the data itself, from the folder in which it lies, and says the same sentences."""
    import nbformat
    from nbclient import NotebookClient

    names = ("<b>$x$ and $y$</b>", "=1+1", "🎉", "control")
    write_report(make_study(names, n=30), tmp_path, formats=["ipynb"])
    assert {path.name for path in tmp_path.iterdir()} == {"report.ipynb", "results.csv", "analysis.json"}
    notebook: Any = cast(Any, nbformat).read(tmp_path / "report.ipynb", as_version=4)
    NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", []) if output.get("name") == "stdout"
    )  # fmt: skip
    assert make_study(names, n=30).comparisons[0].sentence() in printed
    assert names[0] not in "".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


# --- Figures ---------------------------------------------------------------------------------------------------------


def test_figures_keep_names_as_texts(hostile: dict[str, bytes]) -> None:
    """No mathtext, no markup: the name stands in the SVG as it is, escaped."""
    from xml.etree import ElementTree

    svg = hostile["report.figures/estimates-accuracy.svg"].decode()
    texts = {element.text for element in ElementTree.fromstring(svg).iter() if element.text}
    for name in ("$x$ and $y$", "<script>alert(1)</script>", "🎉 fête 评测"):
        assert name in texts
    assert "<script" not in svg


def test_every_figure_draws_from_bare_data() -> None:
    """Those that a study has no data for, and the many-valued ones."""
    curve = figures.Curve("a", (0.0, 1.0, 2.0), (1.0, 0.5, 0.4), (0.9, float("nan"), 0.3), (1.1, float("nan"), 0.5))
    point = figures.CostPoint("cheap", 0.001, 0.5)
    drawn = [
        figures.as_svg(lambda: figures.learning_curves([curve], "loss")),
        figures.as_svg(lambda: figures.calibration(calibration_of([0.2, 0.3, 0.8, 0.9], [0, 1, 1, 1], bins=2))),
        figures.as_svg(lambda: figures.rank_bands(rank_bands([[0, 1], [1, 1], [0, 1]], ["a", "b"], draws=100))),
        figures.as_svg(lambda: figures.cost_quality([point, figures.CostPoint("dear", 1.0, 0.6)], "accuracy", "USD")),
    ]
    for svg, text in zip(drawn, ("step", "confidence", "rank (1 is best)", "cheap"), strict=True):
        assert f">{text}<" in svg, text


def test_the_front_is_what_nobody_beats_in_both() -> None:
    """The cheapest of equals; for a metric of which less is better the other way round."""
    points = [figures.CostPoint(name, cost, quality) for name, cost, quality in
              (("a", 1, 0.5), ("b", 2, 0.5), ("c", 3, 0.9), ("d", 4, 0.8))]  # fmt: skip
    assert [each.condition for each in figures.front(points, "higher")] == ["a", "c"]
    assert [each.condition for each in figures.front(points, "lower")] == ["a"]


ITEMS = """\
import random, json
random.seed(1)
rows = [{"event": "begun", "items": 40, "dataset": "d", "seed": 1, "repeats": 1, "parameters": {}}]
for i in range(40):
    sure = random.random()
    rows.append({"key": str(i), "repeat": 0, "index": i, "status": "succeeded", "final_status": "succeeded",
        "metrics": {"accuracy": float(sure + config["x"] / 10 > 0.5), "confidence": sure}, "attempt": 1})
    (folder / "tracking.jsonl").open("a").write(json.dumps(
        {"event": "metric", "name": "loss", "step": i, "value": 1 / (i + 1), "attempt": 1}) + "\\n")
(folder / "items.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
note = {"mean": 0.5, "n": 40, "better": "higher"}
(folder / "results.json").write_text(json.dumps({"accuracy": 0.5, "metrics": {"accuracy": note}}))
"""


def test_items_tell_ranks_and_calibration_and_steps_a_curve(project: Project) -> None:
    """From the run itself, where its items have a confidence, and its cases told a metric over steps."""
    project.suite(f"[ExperimentCase(f'x{{x}}', Config(do={ITEMS!r}, x=x)) for x in (0, 1, 4)]")
    done = project.run("-q")
    assert done.code == 0, done
    run = read_run(project.run_dir)
    document = make_document(study_of([run], baseline="x0", metrics=["accuracy"]), [run])
    names = [figure.name for figure in document.figures]
    assert [name for name in names if name.startswith(("ranks", "calibration", "curve"))] == [
        "ranks-accuracy", "calibration-x0", "calibration-x1", "calibration-x4", "curve-loss"
    ]  # fmt: skip
    (section,) = (each for each in document.sections if each.name == "evaluations")
    ranks, calibration = (block for block in section.blocks if isinstance(block, TableBlock))
    assert [row[0] for row in ranks.rows] == ["x4", "x1", "x0"]
    assert [row[1] for row in calibration.rows] == ["40", "40", "40"]


def test_models_that_were_served_are_listed_and_changes_warned_of(tmp_path: Path) -> None:
    """The name that was asked for may mean another model in the next run, or half-way through one."""

    def run_with(name: str, **served: dict[str, int]) -> Run:
        samples = [{"id": f"s{i}", "epoch": 1, "scores": {"match": {"value": "CI"[i % 2]}}} for i in range(20)]
        logs = [RecordedLog(samples, served={f"lab/{model}": ids for model, ids in served.items()})]
        cases = [RecordedCase(arm, {"arm": arm, "seed": 1}, logs=logs) for arm in ("baseline", "new")]
        return read_run(record_run(tmp_path, cases, name=name))

    runs = [
        run_with("20260128_143052_a1b2c3d", big={"big-1": 5}, small={"small-1": 5}),
        run_with("20260129_143052_a1b2c3d", big={"big-1": 4, "big-2": 1}, small={"small-1": 5}),
    ]
    document = make_document(study_of(runs, baseline="baseline"), runs)
    sections = {each.name: each for each in document.sections}
    tables = [block for block in sections["code"].blocks if isinstance(block, TableBlock)]
    (table,) = (each for each in tables if each.columns[-1] == "served")
    assert [row[1:] for row in table.rows] == [
        ("lab/big", "big-1 (10 calls)"), ("lab/small", "small-1 (10 calls)"),
        ("lab/big", "big-1 (8 calls), big-2 (2 calls)"), ("lab/small", "small-1 (10 calls)"),
    ]  # fmt: skip
    limits = points_of(sections["limitations"])
    assert "20260129_143052_a1b2c3d: lab/big was served by 2 models (big-1, big-2)" in limits
    assert "lab/big was another model in each run: big-1, then big-1, big-2" in limits
    assert "lab/small" not in limits


# --- Files -----------------------------------------------------------------------------------------------------------


def test_only_reports_are_replaced(tmp_path: Path) -> None:
    """All foreign files are named at once, nothing is written then, and --force is the way."""
    study = make_study(("a", "b"), n=8, metrics=["accuracy"])
    (tmp_path / "results.csv").write_text("mine,too\n1,2\n")
    (tmp_path / "report.md").write_text("# Mine\n")
    with pytest.raises(SuitecaseError) as caught:
        write_report(study, tmp_path, formats=["md", "csv", "json"])
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "analysis.json").exists()
    write_report(study, tmp_path, formats=["md", "csv", "json"], force=True)
    write_report(study, tmp_path, formats=["md", "csv", "json"])
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    with pytest.raises(SuitecaseError, match="did you mean 'html'"):
        write_report(study, tmp_path, formats=["htm"])


SUITE = """\
from suitecase.policies import Report
class Both:
    def after_run(self, record):
        assert not (record.run_dir / "analysis.json").exists()
"""


def scored(*scores: tuple[str, float]) -> str:
    return "[" + ", ".join(
        f"ExperimentCase('{name}_{seed}', Config(do='import json; (folder / \"results.json\").write_text(json.dumps("
        f"dict(score={score} + config[\"seed\"] / 100)))', name={name!r}, seed={seed}))"
        for name, score in scores for seed in (1, 2, 3)
    ) + "]"  # fmt: skip


def test_the_hook_reports_after_the_end(project: Project) -> None:
    """In a process of its own, once the journal has the run's end; the command does the same."""
    hook = "Report(['md', 'ipynb'], baseline='control', metrics=['score'])"
    project.suite(scored(("control", 0.5), ("new", 0.7)), before=SUITE, more=f"hooks=[{hook}, Both()]")
    done = project.run(env={"PYTHONPATH": str(Path(__file__).resolve().parent.parent)})
    assert done.code == 0, done
    names = {path.name for path in project.run_dir.iterdir()}
    assert names >= {"report.md", "report.ipynb", "results.csv", "analysis.json"}
    assert ".report.log" not in names
    analysis = json.loads((project.run_dir / "analysis.json").read_text())
    assert analysis["runs"][0]["status"] == "succeeded"
    assert analysis["comparisons"][0]["difference"] == pytest.approx(0.2)
    told = ask(project, "report", project.run_dir, "-b", "control", "-m", "score", "--format", "html", "--to", "out")
    assert told.code == 0, told
    assert "wrote out/report.html" in told.stdout
    assert (project.root / "out" / "report.html").exists()
    refused = ask(project, "report", project.run_dir, "-b", "nobody", "-m", "score", "--format", "pdf")
    assert (refused.code, "there are md, html" in refused.stderr) == (2, True)


def test_a_hook_that_fails_changes_no_exit_code(project: Project) -> None:
    """A metric that nobody has: the log says why, the run is as it was."""
    hook = "Report(['md'], baseline='nobody', metrics=['score'])"
    project.suite(scored(("control", 0.5)), before="from suitecase.policies import Report", more=f"hooks=[{hook}]")
    done = project.run(env={"PYTHONPATH": str(Path(__file__).resolve().parent.parent)})
    assert done.code == 0, done
    assert "report: failed" in done.stderr
    assert not (project.run_dir / "report.md").exists()
    assert "nobody" in (project.run_dir / ".report.log").read_text()
    assert project.events()[-1]["event"] == "run_ended"


def test_the_hook_is_checked_when_it_is_made() -> None:
    """All problems at once; its formats are those of reports."""
    assert FORMATS_OF_HOOK == FORMATS
    assert hook_problems([Report()]) == []
    arguments: dict[str, Any] = {"formats": ["pdf", "html"], "metrics": "accuracy", "timeout_s": 0}
    with pytest.raises(ValueError) as caught:
        Report(**arguments)
    assert len(str(caught.value).splitlines()) == 3


def test_html_needs_no_network_and_no_script(files: dict[str, bytes]) -> None:
    """Its policy forbids both, so that a mistake in an escape would do nothing."""
    head = files["report.html"].decode().partition("</head>")[0]
    assert "default-src 'none'; style-src 'unsafe-inline'" in head
    assert not re.search(r"https?://", re.sub(r"<svg.*?>", "", head))
