"""`suitecase estimate`: time and cost from earlier runs or a pilot, intervals that hold, and nothing from nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
from asking import COMMAND, suitecase
from conftest import DEADLINE_S, HERE, Project, clean_environment
from hypothesis import given, settings
from hypothesis import strategies as st
from test_suite_command import Terminal, plain

from suitecase.queries import simulation
from suitecase.queries.estimate import Estimate, NoBasisError, describe_suite, estimate_from_runs
from suitecase.queries.pilot import Tried, estimate_by_pilot, extrapolated
from suitecase.queries.simulation import Observation, Pool, interval_of, makespan_s, simulate
from suitecase.rundir import read_run

COSTLY = "(folder / 'results.json').write_text(json.dumps({'cost_usd': config['x'] / 10}))"

# What suitecase.items promises of the variable: it stops after so many rows, and still counts all.
ITEMS = """\
from datetime import datetime, UTC
total, limit = 200, int(os.environ.get('SUITECASE_MAX_ITEMS', '200'))
with (folder / 'items.jsonl').open('w') as file:
    for index in range(min(total, limit)):
        started = time.perf_counter()
        time.sleep(0.002)
        row = {'key': str(index), 'status': 'succeeded', 'duration_s': time.perf_counter() - started}
        row |= {'time': datetime.now(UTC).isoformat(), 'cost_usd': 0.1 if index % 2 else 0.3}
        file.write(json.dumps(row) + chr(10))
counts = {'total': total, 'succeeded': limit, 'failed': 0, 'skipped': 0, 'remaining': total - limit}
(folder / 'results.json').write_text(json.dumps({'items': counts}))
"""


def cases(*xs: int, seeds: int = 1, code: str = COSTLY) -> str:
    """A suite's cases: each x with so many seeds."""
    return (
        f"[ExperimentCase(f'x{{x}}-s{{s}}', Config(x=x, seed=s, do={code!r})) "
        f"for x in {xs!r} for s in range({seeds})]"
    )  # fmt: skip


def estimated(project: Project, **options: Any) -> Estimate:
    return estimate_from_runs(describe_suite(project.root / "suite.py", **options))


# --- The simulation --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(0, 1000), min_size=1, max_size=30), st.integers(1, 40))
def test_makespan_is_that_of_a_list_schedule(durations_s: list[float], places: int) -> None:
    """Between the bounds that every list schedule has: the longest case, the work per place, and Graham's 2 - 1/m."""
    got, work = makespan_s(durations_s, places), sum(durations_s)
    lowest = max(max(durations_s), work / places)
    assert lowest <= got * (1 + 1e-9) + 1e-9
    assert got <= (2 - 1 / places) * lowest * (1 + 1e-9) + 1e-9
    assert makespan_s(durations_s, 1) == pytest.approx(work)
    assert makespan_s(durations_s, len(durations_s)) == max(durations_s)


def test_makespan_follows_the_suites_order() -> None:
    """A long case that comes last is waited for."""
    assert makespan_s([1, 1, 1, 1, 4], 2) == 6
    assert makespan_s([4, 1, 1, 1, 1], 2) == 4


def pools_of(history: list[list[list[float]]]) -> list[Pool]:
    """A pool per case from values by run, condition and repeat."""
    pools: list[Pool] = []
    for condition in range(len(history[0])):
        seen = tuple(Observation(str(at), value) for at, run in enumerate(history) for value in run[condition])
        pools += [Pool(seen, "config")] * len(history[0][condition])
    return pools


def test_intervals_hold_what_they_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of runs that were never seen, nine in ten lie in a 90 % interval; five runs that differ by 10 % are known."""
    monkeypatch.setattr(simulation, "SIMULATIONS", 200)
    rng = random.Random(7)
    hits, trials = 0, 60
    for _ in range(trials):
        bases = [rng.uniform(1, 10) for _ in range(5)]

        def run(bases: list[float] = bases) -> list[list[float]]:
            slow = rng.lognormvariate(0, 0.1)
            return [[base * slow * rng.lognormvariate(0, 0.2) for _ in range(3)] for base in bases]

        pools = pools_of([run() for _ in range(5)])
        interval = interval_of([makespan_s(values, 4) for values in simulate(pools, seed=rng.randrange(10**9))], 0)
        assert interval.low is not None
        assert interval.high is not None
        truth = makespan_s([value for repeats in run() for value in repeats], 4)
        hits += interval.low <= truth <= interval.high
    assert 0.75 <= hits / trials < 1


def test_without_repeats_there_is_no_spread() -> None:
    """Nothing is made up where no condition has run twice; what never varies is predicted to the point."""
    once = [Pool((Observation("a", value),), "config") for value in (1.0, 2.0)]
    assert simulate(once) == []
    assert interval_of([], 3.0) == simulation.Interval(3.0, None, None)
    steady = pools_of([[[2.0], [3.0]], [[2.0], [3.0]]])
    assert {tuple(values) for values in simulate(steady)} == {(2.0, 3.0)}
    free = pools_of([[[0.0]], [[0.0]]])
    assert all(value == 0 for values in simulate(free) for value in values)


def test_many_cases_make_the_mean_of_few_values_no_surer() -> None:
    """Four values have a mean that is known to a third or so; a hundred cases of that condition share its error."""
    pool = Pool(tuple(Observation("a", value) for value in (1.0, 1.5, 2.0, 2.5)), "config")
    interval = interval_of([sum(values) for values in simulate([pool] * 100)], 0)
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low < 175 < interval.high
    assert interval.high - interval.low > 0.3 * 175


def test_the_same_evidence_gives_the_same_estimate() -> None:
    """The seed is fixed, and told."""
    pools = pools_of([[[1.0, 2.0], [3.0, 5.0]], [[1.5, 2.5], [2.0, 4.0]]])
    assert simulate(pools) == simulate(pools) != simulate(pools, seed=1)


# --- From earlier runs -----------------------------------------------------------------------------------------------


def test_evidence_is_matched_by_config_then_name_then_experiment(project: Project) -> None:
    """And what it is made of is told: cases of each kind, runs, simulations, seed."""
    project.suite(cases(1, 2, seeds=2))
    suite = describe_suite(project.root / "suite.py")
    with pytest.raises(NoBasisError, match="nothing tells what exp takes: no case of it has succeeded"):
        estimate_from_runs(suite)
    nothing = suitecase("estimate", "suite.py", cwd=project.root)
    assert (nothing.code, nothing.stdout) == (1, "")
    assert project.run_forked("-p", "2").code == 0
    told = estimate_from_runs(suite)
    assert (told.cases, told.places, told.basis) == (4, 4, {"config": 4})
    assert any("one run" in note for note in told.notes)
    assert any("2 cases at a time, this one 4" in note for note in told.notes)
    assert told.cost_usd is not None
    assert told.cost_usd.expected == pytest.approx(0.6)
    for interval in (told.duration_s, told.case_time_s):
        assert interval.low is not None
        assert interval.high is not None
        assert 0 < interval.low <= interval.expected <= interval.high
    (took_s,) = (run.duration_s or 0 for run in [read_run(project.run_dir)])
    assert 0 < told.overhead_s < took_s
    assert told.duration_s.expected < told.case_time_s.expected + told.overhead_s
    project.suite(cases(1, 3, seeds=3))
    assert estimated(project).basis == {"config": 3, "experiment": 3}
    assert estimated(project, flags=["--set", "name=other"]).basis == {"variant": 2, "experiment": 4}
    assert estimated(project, flags=["--only", "x1*"], places=2).places == 2
    done = suitecase("estimate", "suite.py", "--json", cwd=project.root)
    document = json.loads(done.stdout)
    assert document["runs"] == [project.run_dir.name]
    assert (document["simulations"], document["seed"], document["confidence"]) == (1000, 42, 0.9)


def test_failures_and_debugging_are_no_evidence(project: Project) -> None:
    """A case that crashed at once says nothing of how long it takes."""
    project.suite(cases(1, 2, code="sys.exit(config['x'] - 1)"))
    assert project.run_forked().code == 1
    suite = describe_suite(project.root / "suite.py")
    told = estimate_from_runs(suite)
    assert told.basis == {"config": 1, "experiment": 1}
    assert (told.duration_s.low, told.cost_usd, told.overhead_s) == (None, None, 0)
    assert any("No interval" in note for note in told.notes)
    shutil.rmtree(project.root / "results")
    assert project.run_forked("--debug", "x1-s0").code == 0
    with pytest.raises(NoBasisError):
        estimate_from_runs(suite)


def test_costs_that_need_a_confirmation(project: Project) -> None:
    """Above the limit nobody is asked off a terminal: exit code 2; an unknown cost counts as above."""
    project.suite(cases(1, seeds=2))
    unknown = suitecase("estimate", "suite.py", "--confirm-above", "5", cwd=project.root)
    assert unknown.code == 2
    assert "its cost is unknown" in unknown.stderr
    assert project.run_forked().code == 0
    assert suitecase("estimate", "suite.py", "--confirm-above", "0.2", cwd=project.root).code == 0
    above = suitecase("estimate", "suite.py", "--confirm-above", "0.1", cwd=project.root)
    assert above.code == 2
    assert "it may cost 0.2 USD, and --confirm-above is 0.1 USD: nobody is here to confirm it." in above.stderr


def test_on_a_terminal_the_cost_is_asked_about(project: Project) -> None:
    """No is exit code 1; what yes is, a suite that asks shows below."""
    project.suite(cases(1))
    terminal, theirs = os.openpty()
    command = [*COMMAND, "estimate", "suite.py", "--confirm-above", "5"]
    process = subprocess.Popen(
        command, cwd=project.root, env=clean_environment() | {"PYTHONPATH": str(HERE)},
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    os.write(terminal, b"n\n")
    assert process.wait(timeout=DEADLINE_S) == 1
    assert b"more than 5 USD. Go on?" in os.read(terminal, 10_000)
    os.close(terminal)


# --- Before a suite starts -------------------------------------------------------------------------------------------


def path_with_command(folder: Path) -> dict[str, str]:
    """An environment in which `suitecase` is found on PATH, and is this checkout's."""
    script = folder / "bin/suitecase"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom suitecase.cli import main\n\nmain()\n")
    script.chmod(0o755)
    return {"PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": str(HERE)}


def test_a_suite_asks_for_the_estimate_of_what_it_is_to_run(project: Project, tmp_path: Path) -> None:
    """With its own --set, --only, results folder and resume; above the limit nothing starts, below it does."""
    env = path_with_command(tmp_path)
    project.suite(cases(1, 2, seeds=2))
    assert project.run_forked("--only", "x1-*", "--set", "name=a", "--results-dir", "other").code == 0
    flags = ("--results-dir", "other", "--set", "name=a", "--only", "x1-*", "-p", "1")
    above = project.run_forked(*flags, "--confirm-above", "0.1", env=env)
    assert above.code == 2, above
    assert "exp: 2 cases, 1 at a time" in above.stderr  # on stdout --json has lines of its own
    assert "2 by cases with the same config, seed aside" in above.stderr
    assert "it may cost 0.2 USD, and --confirm-above is 0.1 USD: nobody is here to confirm it." in above.stderr
    assert above.stderr.endswith("suite.py: --confirm-above: nothing was started.\n")
    assert len(list((project.root / "other/exp").iterdir())) == 1
    assert project.run_forked(*flags, "--confirm-above", "0.3", env=env).code == 0

    left = project.run_forked("--results-dir", "other", "--resume", "latest", "--confirm-above", "0.1", env=env)
    assert left.code == 2, left
    assert "exp: 2 cases, 2 at a time" in left.stderr
    assert "2 by all cases of the experiment" in left.stderr
    again = ("--results-dir", "other", "--resume", "latest", "--again")
    both = project.run_forked(*again, "--confirm-above", "1", env=env)
    assert "--confirm-above can't tell what --again costs: leave one of them out." in both.stderr


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_a_suite_asks_on_a_terminal(project: Project, tmp_path: Path, answer: str, code: int) -> None:
    """Yes starts it; no is exit code 1, and nothing was written."""
    terminal = Terminal(project, "--confirm-above", "5", env=path_with_command(tmp_path))
    terminal.read(lambda text: "more than 5 USD. Go on?" in text)
    terminal.type(f"{answer}\n")
    ended, text = terminal.end()
    assert ended == code, text
    assert ("Completed: 2/2 succeeded" in plain(text)) == (answer == "y")
    assert ("--confirm-above: nothing was started." in plain(text)) == (answer == "n")
    assert len(project.runs()) == (answer == "y")


def test_a_suite_without_the_command(project: Project) -> None:
    """It says what to install; a dry run needs nothing."""
    venv.create(project.root / "env", symlinks=True)
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": sysconfig.get_path("purelib")}
    command = [str(project.root / "env/bin/python"), "suite.py", "--confirm-above", "5"]
    done = subprocess.run(command, cwd=project.root, env=clean_environment() | env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "suite.py: --confirm-above asks the command `suitecase`: pip install suitecase\n"
    assert not project.runs()


def test_a_suite_that_cant_run_says_why(project: Project) -> None:
    """In its own words, before anything else."""
    project.suite({"a": ""}, entry_point="wrok.py")
    done = suitecase("estimate", "suite.py", cwd=project.root)
    assert done.code == 2
    assert "entry point 'wrok.py' was not found" in done.stderr
    assert suitecase("estimate", "siute.py", cwd=project.root).code == 2


# --- By a pilot ------------------------------------------------------------------------------------------------------


def test_a_pilot_is_extrapolated_to_all_items(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Costs by the items that were tried, seconds between items times their number; nothing of it is left behind."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    project.suite(cases(1, 2, code=ITEMS))
    before = project.listing()
    told = estimate_by_pilot(describe_suite(project.root / "suite.py", places=1), 10)
    assert told.basis == {"pilot": 2}
    assert told.cost_usd is not None
    assert told.cost_usd.low is not None
    assert told.cost_usd.high is not None
    assert 60 < told.cost_usd.low < told.cost_usd.expected == pytest.approx(80, rel=0.1)
    assert told.cost_usd.high < 100
    assert told.duration_s.expected >= 2 * 200 * 0.002
    assert list(scratch.iterdir()) == []
    assert project.listing() == before


def test_only_seconds_between_items_grow_with_them(project: Project) -> None:
    """One second of loading stays one second; with a single item there is no interval."""
    suite = describe_suite(project.root / "suite.py", places=1)
    steady = Tried(outside_s=1, inside_s=2, total=100, durations_s=(0.2,) * 10, costs_usd=())
    told = extrapolated(suite, [steady, steady], 10).duration_s
    assert (told.low, told.expected, told.high) == (42, 42, 42)
    one = Tried(outside_s=1, inside_s=0.2, total=100, durations_s=(0.2,), costs_usd=(0.5,))
    told_of_one = extrapolated(suite, [one], 1)
    assert told_of_one.duration_s == simulation.Interval(21)
    assert told_of_one.cost_usd == simulation.Interval(50)


@pytest.mark.parametrize("told", ["", ITEMS.replace("SUITECASE_MAX_ITEMS", "OTHER").replace("200", "8")])
def test_a_pilot_stops_at_a_case_that_does_not_heed_it(project: Project, told: str) -> None:
    """One case ran in full, and the others, which would too, did not run at all."""
    project.suite(cases(1, 2, 3, code=f"(Path('ran') / str(config['x'])).touch()\n{told}"))
    (project.root / "ran").mkdir()
    done = suitecase("estimate", "suite.py", "--pilot", "5", cwd=project.root)
    assert done.code == 1
    assert "case 'x1-s0' did not heed SUITECASE_MAX_ITEMS, as suitecase.items does, and ran in full" in done.stderr
    assert [path.name for path in (project.root / "ran").iterdir()] == ["1"]


def test_a_pilot_that_fails_shows_why(project: Project) -> None:
    """With the end of the case's log, since its folder is removed."""
    project.suite(cases(1, code="raise ValueError('no key')"))
    with pytest.raises(NoBasisError, match=r"(?s)the pilot failed: case 'x1-s0' exit code 1\..*ValueError: no key"):
        estimate_by_pilot(describe_suite(project.root / "suite.py"), 5)
