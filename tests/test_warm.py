"""Warm cases do what cold ones do, and whatever happens to the fork server is told and mended."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, alive, wait_for
from coverage import CoverageData

from suitecase.launchers.conformance import Conformance, Experiment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a fork server needs Linux")


class TestWarm(Conformance):
    """What every launcher must do."""

    arguments = ("--launcher", "warm", "--launcher-option", "preload=json,pydantic_settings")

    @classmethod
    def experiment_in(cls, root: Path) -> Experiment:
        environment = {**os.environ, "XDG_CACHE_HOME": str(root / "cache")}
        return Experiment(root, cls.arguments, environment, cls.patience_s)


# Each function is a case. What it returns is its result; what it writes is in its log; how it ends is in the journal.
BEHAVIOURS = '''\
"""Things that scripts do."""

import atexit
import os
import sys

FOLDER = sys.argv[2]
at_module_level = open(f"{FOLDER}/never_closed.txt", "w")
at_module_level.write("written when Python ends")


class Pair:
    def __init__(self, left, right):
        self.left, self.right = left, right


def square(x):
    return x * x


def argv():
    return sys.argv, sys.orig_argv, sys.executable, sys.flags


def cwd():
    return os.getcwd()


def environment():
    mine = {name: value for name, value in os.environ.items() if name != "SUITECASE_MARK"}
    return list(mine.items()), os.environb[b"PATH"].decode(), os.getenv("ONLY_HERE")


def environment_of_children():
    import subprocess

    return sorted(subprocess.check_output(["env"], text=True).replace(os.environ["SUITECASE_MARK"], "").splitlines())


def standard_input():
    return sys.stdin.read(), os.readlink("/proc/self/fd/0"), sys.stdin.isatty()


def exit_functions():
    atexit.register(print, "first registered")
    atexit.register(print, "last registered")


def thread_outlives_main():
    import threading
    import time

    threading.Thread(target=lambda: (time.sleep(0.05), print("from the thread"))).start()
    print(threading.main_thread().name, threading.current_thread() is threading.main_thread())
    return threading.active_count(), threading.main_thread().native_id == os.getpid()


def exception_in_thread():
    import threading

    thread = threading.Thread(target=square, args=("x",), name="worker")
    thread.start()
    thread.join()


def fork():
    print("before")
    if not os.fork():
        print("the child")
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.wait()[1])


def pool_of_forks():
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(square, range(5))


def pool_of_fresh_processes():
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(square, range(5)), len(multiprocessing.current_process().authkey)


def futures():
    from concurrent.futures import ThreadPoolExecutor

    executor = ThreadPoolExecutor(1)
    executor.submit(print, "printed while Python ends")
    return executor.submit(square, 7).result()


def pickling():
    import pickle

    text = pickle.dumps(Pair(1, square), protocol=0)
    back = pickle.loads(text)
    return text.decode(), back.left, back.right is square, type(back) is Pair


def pickling_at_exit():
    import pickle

    atexit.register(lambda: print(pickle.dumps(Pair(1, 2), protocol=0)))


def exit_code():
    sys.exit(3)


def exit_text():
    sys.exit("this is why")


def exit_at_once():
    sys.stdout.write("lost" if "PYTHONUNBUFFERED" not in os.environ else "kept")
    os._exit(5)


def traceback_of_causes():
    try:
        square("x")
    except TypeError as error:
        raise RuntimeError("no square") from error


def traceback_of_syntax():
    compile("1 +", "given", "exec")


def own_hook():
    sys.excepthook = lambda kind, value, trace: print(kind.__name__, value, trace.tb_frame.f_code.co_name)
    1 / 0


def interrupted():
    raise KeyboardInterrupt


def interrupted_by_a_signal():
    import signal

    os.kill(os.getpid(), signal.SIGINT)


def terminated():
    import signal

    os.kill(os.getpid(), signal.SIGTERM)


def signals():
    import signal

    handlers = {number: str(signal.getsignal(number)) for number in range(1, 32)}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return {n: h.split(" at ")[0] for n, h in handlers.items()}, len(blocked), signal.set_wakeup_fd(-1)


def broken_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    os.write(writing, b"x")


def random_numbers():
    import random

    fresh = random.random()
    rng = random.Random(7)
    random.seed(7)
    return [random.random(), rng.random(), fresh != random.random()]


def numpy_numbers():
    import numpy

    fresh = numpy.random.random()
    numpy.random.seed(7)
    return [numpy.random.random(), numpy.random.default_rng(7).random(), fresh != numpy.random.random()]


def numpy_product():
    import numpy

    return float((numpy.ones((200, 200)) @ numpy.ones((200, 200))).sum())


def path():
    return sys.path, sys.path_hooks.__len__(), [type(finder).__name__ for finder in sys.meta_path]


def names():
    kinds = {name: type(value).__name__ for name, value in globals().items() if name.startswith("__")}
    return __name__, __file__, __doc__, kinds, __spec__, __loader__.path, __builtins__.__name__


def project_module():
    import config

    return config.__file__, config.__spec__.origin, config.__name__


def stack():
    import inspect

    return [frame.function for frame in inspect.stack()], sys._getframe(1).f_back


def recursion():
    def deeper(n):
        try:
            return deeper(n + 1)
        except RecursionError:
            return n

    return deeper(0), sys.getrecursionlimit()


def warnings():
    import warnings

    warnings.warn("of here", stacklevel=1)
    warnings.warn("of the caller", stacklevel=2)
    warnings.warn("of nobody", stacklevel=50)
    warnings.warn("old", DeprecationWarning, stacklevel=1)
    return [str(each) for each in warnings.filters if "numpy" not in str(each)]  # only warm cases have imported that


def locales():
    import locale

    facts = ("encoding", "errors", "line_buffering", "write_through", "name", "mode")
    streams = [[getattr(stream, fact) for fact in facts] for stream in (sys.stdin, sys.stdout, sys.stderr)]
    return streams, sys.getfilesystemencoding(), locale.getlocale(), locale.setlocale(locale.LC_ALL)


def logging():
    import logging

    logging.warning("to the error")
    logging.basicConfig(format="%(levelname)s %(name)s %(process)d".replace("%(process)d", ""))
    logging.getLogger("x").error("formatted")
    record = logging.makeLogRecord({})
    return record.relativeCreated < 60_000, record.process == os.getpid(), logging.root.level


def subprocesses():
    import subprocess

    code = "import sys; print(sys.flags.hash_randomization, sys.path[1:], __name__)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout


def descriptors():
    return {fd: os.readlink(f"/proc/self/fd/{fd}").split(" ")[0] for fd in os.listdir("/proc/self/fd")[:-1]}


def limits():
    import resource

    known = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    umask = os.umask(0)
    return {name: resource.getrlimit(getattr(resource, name)) for name in known}, umask, os.nice(0)


def session():
    adjusted = open("/proc/self/oom_score_adj").read()
    return os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid(), adjusted, open("/proc/self/comm").read()


def memory_limit():
    try:
        bytearray(3_000_000_000)
    except MemoryError as error:
        return repr(error)


def data_classes():
    from dataclasses import asdict, dataclass

    @dataclass(frozen=True, slots=True)
    class Point:
        x: int
        y: "Point | None" = None

    return asdict(Point(1, Point(2))), repr(Point(3)), Point.__module__


def event_loop():
    import asyncio

    async def answer():
        await asyncio.sleep(0)
        process = await asyncio.create_subprocess_exec("true")
        return await process.wait(), await asyncio.to_thread(square, 6)

    return asyncio.run(answer())


def temporary_files():
    import tempfile

    with tempfile.NamedTemporaryFile(prefix="x") as one, tempfile.TemporaryDirectory() as two:
        kept = tempfile.TemporaryDirectory()
        atexit.register(lambda: print(os.path.exists(kept.name)))
        return os.path.dirname(one.name) == os.path.dirname(two), one.name != two


def objects_at_the_end():
    import weakref

    class Last:
        def __del__(self, print=print, out=sys.stdout):
            print("deleted", file=out)

    global last, held
    last = Last()
    held = Pair(0, 0)
    weakref.finalize(held, print, "finalised")


class Leaving:
    def __del__(self):
        print("deleted", os.getpid() > 0)


def globals_at_the_end():
    global leaving
    leaving = Leaving()


def main_module():
    import __main__

    return sys.modules["__main__"] is __main__, __main__.square is square, [*vars(__main__)][:9]


def held_by_a_library():
    import logging

    file = open(f"{FOLDER}/held.txt", "w")
    file.write("not flushed by the script")
    logging.kept_for_good = file


def both_streams():
    print("out")
    print("err", file=sys.stderr)
    os.write(1, b"raw\\n")
    print("no end", end="")


def time_zone():
    import time

    return time.tzname, os.environ.get("TZ")


def collector():
    import gc

    return gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.callbacks


def modules():
    return sorted(name for name in sys.modules if name.startswith(("site", "suitecase", "_frozen", "experiment")))


def imports():
    import importlib
    import json

    again = importlib.reload(json)
    return again is json, json.__spec__.name, json.__spec__.parent, type(json).__name__, "json" in sys.modules


def main():
    import json

    at = sys.argv.index("--name") + 1
    result = globals()[sys.argv[at]]()
    with open(f"{FOLDER}/results.json", "w") as file:
        json.dump({"result": result}, file, indent=1, default=str)


if __name__ == "__main__":
    main()
'''
NAMES = [name for name in re.findall(r"^def (\w+)\(\)", BEHAVIOURS, re.MULTILINE) if name != "main"]
PRELOAD = (
    "asyncio,concurrent.futures,concurrent.futures.thread,dataclasses,importlib,inspect,json,locale,logging,"
    "multiprocessing,multiprocessing.pool,numpy,pickle,random,subprocess,tempfile,threading,warnings,weakref"
)


def outcomes(project: Project, run_dir: Path) -> dict[str, Any]:
    """All that a run left of each case, without what differs between any two runs."""
    told: dict[str, Any] = {}
    for event in project.events("attempt_ended", run_dir):
        folder = run_dir / event["variant"]
        texts = {file.name: file.read_text(errors="replace") for file in folder.iterdir() if file.is_file()}
        texts = {name: re.sub(r"0x[0-9a-f]+", "0x", text) for name, text in texts.items()}
        told[event["variant"]] = {
            "end": (event["status"], event.get("exit_code"), event.get("signal")),
            "files": {name: text.replace(run_dir.name, "RUN") for name, text in sorted(texts.items())},
        }
    return told


def test_warm_cases_leave_what_cold_ones_leave(project: Project, tmp_path: Path) -> None:
    """Dozens of things that scripts do, each with the same files, logs and exit codes both ways."""
    project.write("behave.py", BEHAVIOURS)
    cases = [
        f"ExperimentCase({name!r}, Config(name={name!r}), env={{'ONLY_HERE': 'here', 'TZ': 'Asia/Tokyo'}}, "
        f"resources=Resources(memory_gb=1) if {name!r} == 'memory_limit' else None)"
        for name in NAMES
    ]
    before = "from experiment_runner import Resources"
    project.suite(f"[{', '.join(cases)}]", entry_point="behave.py", before=before)
    env = {"XDG_CACHE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    project.run_forked("-p", "2", env=env)
    cold = project.run_dir
    done = project.run_forked("-p", "2", "--launcher", "warm", "--launcher-option", f"preload={PRELOAD}", env=env)
    assert project.run_dir != cold, done.stderr
    starts = {event["variant"]: event.get("start") for event in project.events("attempt_started")}
    assert set(starts.values()) == {"warm"}, done.stderr
    expected, found = outcomes(project, cold), outcomes(project, project.run_dir)
    assert len(expected) == len(NAMES) > 30
    differences = {name: (found.get(name), expected[name]) for name in NAMES if found.get(name) != expected[name]}
    assert not differences


# --- What is preloaded


INSTALLED = {
    "plain": "import os\nvalue = os.environ.get('PLAIN')",
    "uses_plain": "import plain",
    "threads": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
    "uses_threads": "try:\n    import threads\nexcept Exception:\n    pass",
    "opens": "file = open(__file__)",
    "speaks": "print('speaking')",
    "looks_at_the_project": "import mine",
    "reads_the_case": "import os\ncase = os.getenv('SUITECASE_VARIANT')",
    "ends": "import os, sys\nif 'behave' not in str(sys.argv) and 'SUITECASE_MARK' not in os.environ: os._exit(9)",
}

LOOK = f"(folder / 'before.json').write_text(json.dumps([n for n in {[*INSTALLED]!r} if n in sys.modules]))"


def installed(project: Project, tmp_path: Path) -> dict[str, str]:
    """A folder of installed packages of our own, and the variables that lead to it and to a cache."""
    packages = tmp_path / "site-packages"
    packages.mkdir()
    for name, code in INSTALLED.items():
        (packages / f"{name}.py").write_text(code)
    project.write("mine.py", "value = 1")
    return {"PYTHONPATH": str(packages), "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}


def warm(project: Project, env: Mapping[str, str], *arguments: str, forked: bool = True) -> tuple[dict[str, str], str]:
    """Run the suite warm; how each attempt was started, and what was said."""
    run = project.run_forked if forked else project.run
    done = run("-p", "1", "--launcher", "warm", *arguments, env=env)
    assert set(project.statuses().values()) == {"succeeded"}, done.stdout + done.stderr
    return {event["variant"]: event["start"] for event in project.events("attempt_started")}, done.stderr


def preloaded_here(project: Project, variant: str) -> set[str]:
    """Of the modules above, those that a case had before it imported anything."""
    return set(json.loads((project.run_dir / variant / "before.json").read_text()))


def test_what_is_preloaded_is_learned(project: Project, tmp_path: Path) -> None:
    """From the first case; without what a fork would not survive, whatever else imports that, and the project."""
    env = installed(project, tmp_path)
    code = f"{LOOK}; import {', '.join(INSTALLED)}"
    project.suite(
        f"[ExperimentCase(f'c{{n}}', Config(do={code!r}), env=env) for n, env in "
        "enumerate([{}, {}, {'PLAIN': 'x'}, {'OTHER': 'x'}, {'PYTHONHASHSEED': '1'}])]"
    )
    starts, said = warm(project, env)
    assert starts == {"c0": "warm", "c1": "warm", "c2": "cold", "c3": "warm", "c4": "cold"}, said
    assert preloaded_here(project, "c0") == set()
    assert preloaded_here(project, "c1") == preloaded_here(project, "c3") == {"plain", "uses_plain"}
    for reason in (
        "threads starts a thread",
        "opens opens /",
        "speaks writes to its output",
        "ends ends the process",
        "reads_the_case reads SUITECASE_VARIANT",
    ):
        assert reason in said
    assert (project.run_dir / "c1" / "attempt-1.log").read_text() == "speaking\n"
    seeds = {event.get("hash_seed") for event in project.events("attempt_started")}
    assert len(seeds - {None}) >= 1

    _, said = warm(project, env)
    assert said == "", "what is known is said once"
    assert preloaded_here(project, "c0") == {"plain", "uses_plain"}
    assert "modules are preloaded" in project.run_forked("--launcher", "warm", "--dry-run", env=env).stdout
    project.write("work.py", (project.root / "work.py").read_text() + "# changed\n")
    assert "is learned" in project.run_forked("--launcher", "warm", "--dry-run", env=env).stdout


def test_others_wait_for_the_case_that_tells_what_to_preload(project: Project, tmp_path: Path) -> None:
    """All are ready at once; a first case that takes long is waited for six seconds at most."""
    env = installed(project, tmp_path)
    project.suite(dict.fromkeys("abc", f"{LOOK}; import plain"))
    warm(project, env, "-p", "3")
    assert sorted(len(preloaded_here(project, variant)) for variant in "abc") == [0, 1, 1]

    wait = "while not (folder.parent / 'c' / 'attempt-1.log').exists(): time.sleep(0.02)"
    project.suite({"a": wait, "b": wait, "c": ""})
    project.write("work.py", (project.root / "work.py").read_text() + "# changed\n")
    warm(project, env, "-p", "3")


def test_what_is_preloaded_can_be_said(project: Project, tmp_path: Path) -> None:
    env = installed(project, tmp_path)
    project.suite({"a": LOOK})
    _, said = warm(project, env, "--launcher-option", "preload=uses_plain, looks_at_the_project, nowhere")
    assert preloaded_here(project, "a") == {"uses_plain", "plain"}
    assert "looks_at_the_project imports mine, which is not installed" in said
    assert "nowhere can't be imported" in said
    options = ("--launcher-option", "preload=uses_plain,opens", "--launcher-option", "no_preload=plain,opens")
    warm(project, env, *options)
    assert preloaded_here(project, "a") == set()
    options = json.loads((project.run_dir / "run.json").read_text())["launcher"]["options"]
    assert options == {"preload": "uses_plain,opens", "no_preload": "plain,opens"}


def test_a_default_that_inspect_reads_at_import_is_renewed(project: Project, tmp_path: Path) -> None:
    """Of that variable each case has its own value, and would start cold."""
    env = installed(project, tmp_path)
    package = Path(env["PYTHONPATH"], "inspect_ai", "log")
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("")
    code = "def list_eval_logs(one=1, log_dir=os.environ.get('INSPECT_LOG_DIR', './logs'), two=2):"
    (package / "_file.py").write_text(f"import os\n{code}\n    return one, log_dir, two\n")
    project.suite(
        "[ExperimentCase('a', Config(do='from inspect_ai.log._file import list_eval_logs as f; print(f())'), "
        "env={'INSPECT_LOG_DIR': 'own'})]"
    )
    starts, _ = warm(project, env, "--launcher-option", "preload=inspect_ai.log._file")
    assert starts == {"a": "warm"}
    assert (project.run_dir / "a" / "attempt-1.log").read_text() == "(1, 'own', 2)\n"


def test_options_that_say_nothing_are_refused(project: Project) -> None:
    options = ("--launcher-option", "preload=a b,json", "--launcher-option", "no_preload=x,,1")
    done = project.run_forked("--launcher", "warm", *options)
    assert done.code == 2
    assert "preload: 'a b' is no name of a module" in done.stderr
    assert "no_preload: '1' is no name of a module" in done.stderr
    assert not (project.root / "results").exists()


def test_a_cache_that_cant_be_written(project: Project, tmp_path: Path) -> None:
    """A dry run writes nothing; a run goes on without."""
    env = installed(project, tmp_path)
    project.suite({"a": LOOK})
    project.run_forked("--launcher", "warm", "--dry-run", env=env)
    assert not Path(env["XDG_CACHE_HOME"]).exists()
    Path(env["XDG_CACHE_HOME"]).write_text("no folder")
    starts, said = warm(project, env)
    assert starts == {"a": "warm"}
    assert said.startswith("warm: nothing is preloaded, since what a case tells can't be kept: [Errno ")


def test_what_a_case_cant_tell_stays_out_of_its_log(project: Project, tmp_path: Path) -> None:
    """A case that can't write which modules it had is a case like any other, and the next one tells."""
    env = installed(project, tmp_path)
    code = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 100))"
    project.suite({"a": code, "b": "", "c": LOOK})
    starts, said = warm(project, env)
    assert set(starts.values()) == {"warm"}, said
    assert (project.run_dir / "a" / "attempt-1.log").read_text() == ""
    assert [*Path(env["XDG_CACHE_HOME"], "suitecase", "warm").glob("*.json")]


def test_a_cache_folder_that_is_no_full_path_counts_for_nothing(project: Project, tmp_path: Path) -> None:
    project.suite({"a": "os.chdir('/')"})
    warm(project, {"XDG_CACHE_HOME": "relative", "HOME": str(tmp_path)})
    assert not (project.root / "relative").exists()
    assert (project.run_dir / "a" / "attempt-1.log").read_text() == ""
    assert [*Path(tmp_path, ".cache", "suitecase", "warm").glob("*.json")]


def test_modules_that_count_their_leaks_find_none(project: Project, tmp_path: Path) -> None:
    """duckdb is made with nanobind, which writes at the end what of it is still there."""
    pytest.importorskip("duckdb")
    project.suite({"a": "import duckdb; print(duckdb.sql('select 3').fetchall())"})
    starts, said = warm(project, installed(project, tmp_path), "--launcher-option", "preload=duckdb")
    assert (starts, said) == ({"a": "warm"}, "")
    assert (project.run_dir / "a" / "attempt-1.log").read_text() == "[(3,)]\n"


def test_an_edit_between_two_cases_is_seen(project: Project, tmp_path: Path) -> None:
    """The project's modules are never preloaded, even where the first case has imported them."""
    env = installed(project, tmp_path)
    code = "import mine; print(mine.value); Path('mine.py').write_text(f'value = {mine.value + 1}  # {mine.value}')"
    project.suite({f"c{n}": f"import importlib; {code}" for n in range(3)})
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # or a .pyc of the same second and size could hide the edit
    starts, _ = warm(project, env, forked=False)
    assert set(starts.values()) == {"warm"}
    logs = [(project.run_dir / f"c{n}" / "attempt-1.log").read_text() for n in range(3)]
    assert logs == ["1\n", "2\n", "3\n"]


# --- What may happen to the server


def server_of(project: Project, variant: str) -> int:
    """The fork server of a running case: its parent."""
    pid = project.wait_for_started(variant)[variant]
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


WAIT = "while not Path('go').exists(): time.sleep(0.02)"


def test_the_server_is_killed(project: Project, tmp_path: Path) -> None:
    """Running cases go on and are recorded as ever; the others get another server."""
    env = installed(project, tmp_path)
    project.suite({"a": WAIT, "b": WAIT + "\nsys.exit(3)", "c": "", "d": ""})
    runner = project.fork(
        "-p", "2", "--launcher", "warm", "--launcher-option", "preload=json", env=env
    )  # fmt: skip
    project.wait_for_started("a", "b")
    server = server_of(project, "a")
    assert server == server_of(project, "b")
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: not alive(server))
    project.write("go", "")
    done = project.finish(runner)
    assert project.statuses() == {"a": "succeeded", "b": "failed", "c": "succeeded", "d": "succeeded"}, done.stderr
    ends = {event["variant"]: event for event in project.events("attempt_ended")}
    assert ends["b"]["exit_code"] == 3
    assert ends["a"]["user_cpu_s"] + ends["a"]["system_cpu_s"] > 0
    assert ends["a"]["max_rss_bytes"] > 1_000_000
    assert {event["start"] for event in project.events("attempt_started")} == {"warm"}
    assert "the fork server ended, and is started again" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_server_that_hangs_is_ended(project: Project, tmp_path: Path, number: signal.Signals) -> None:
    """A stopped server neither keeps the run from ending nor anything alive, and the cases are recorded as ever."""
    env = installed(project, tmp_path)
    project.suite({"a": WAIT, "b": WAIT})
    options = ("-p", "2", "--grace", "0.2", "--launcher", "warm", "--launcher-option", "preload=json")
    runner = project.fork(*options, env=env)
    server = server_of(project, "a")
    pids = project.wait_for_started("a", "b")
    guardian = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(server, signal.SIGSTOP)
    runner.send_signal(number)
    done = project.finish(runner)
    wait_for(lambda: not any(map(alive, [server, guardian, *pids.values()])), "the end of all processes", 10)
    if number == signal.SIGINT:
        assert done.code == 130
        assert project.statuses() == {"a": "cancelled", "b": "cancelled"}
        assert {event["signal"] for event in project.events("attempt_ended")} == {signal.SIGTERM}


@pytest.mark.parametrize("victim", ["runner", "guardian"])
def test_nothing_outlives_a_runner_or_a_guardian_that_is_killed(project: Project, tmp_path: Path, victim: str) -> None:
    env = installed(project, tmp_path)
    project.suite({"a": WAIT, "b": WAIT})
    runner = project.fork("-p", "2", "--launcher", "warm", "--launcher-option", "preload=json", env=env)
    pids = project.wait_for_started("a", "b")
    server = server_of(project, "a")
    guardian = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(runner.pid if victim == "runner" else guardian, signal.SIGKILL)
    wait_for(lambda: not any(map(alive, [server, guardian, *pids.values()])), "the end of all processes")
    if victim == "guardian":
        project.finish(runner)
        assert project.statuses() == {"a": "failed", "b": "failed"}
        assert {event["cause"] for event in project.events("case_ended")} == {
            "its guardian was killed, and the case with it"
        }


def test_what_preloads_for_ever_is_no_obstacle_to_a_stop(project: Project, tmp_path: Path) -> None:
    """Cases that wait for the server are cancelled, and the server goes."""
    env = installed(project, tmp_path)
    packages = Path(env["PYTHONPATH"])
    told = tmp_path / "pid"
    code = f"import os, time\nopen({str(told)!r}, 'w').write(str(os.getpid()))\nwhile True: time.sleep(1)"
    (packages / "slow.py").write_text(code)
    project.suite({"a": "", "b": ""})
    runner = project.fork("--launcher", "warm", "--launcher-option", "preload=slow", env=env)
    pid = int(wait_for(lambda: told.exists() and told.read_text()))
    runner.send_signal(signal.SIGTERM)
    assert project.finish(runner).code == 143
    assert not alive(pid)
    assert project.statuses() == {"a": "cancelled", "b": "cancelled"}


def test_a_server_that_never_lives_is_done_without(project: Project, tmp_path: Path) -> None:
    env = installed(project, tmp_path)
    project.suite({"a": "print(1)", "b": "print(1)"})
    Path(env["PYTHONPATH"], "sitecustomize.py").write_text(
        "import os, sys\nif 'SUITECASE_MARK' not in os.environ and len(sys.orig_argv) == 2: os._exit(7)"
    )
    starts, said = warm(project, env, "--launcher-option", "preload=json")
    assert set(starts.values()) == {"cold"}
    assert "Cases start cold" in said


def test_what_cant_be_forked_starts_cold(project: Project, tmp_path: Path) -> None:
    """Programs that are no Python script, and a case on the terminal."""
    env = installed(project, tmp_path)
    project.write("work.sh", "#!/bin/sh\necho cold\n").chmod(0o755)
    project.suite({"a": ""}, entry_point="work.sh")
    starts, said = warm(project, env)
    assert starts == {"a": "cold"}
    assert said == "warm: cases start cold: work.sh is no Python script.\n"
    project.suite({"a": "print(os.getppid() > 0, sys.stdout.name)"})
    done = project.run_forked("--launcher", "warm", "--debug", "a", env=env)
    assert (done.code, done.stderr) == (0, "")


def test_coverage_measures_warm_cases(project: Project, tmp_path: Path) -> None:
    env = installed(project, tmp_path)
    settings = f"[run]\nparallel = true\ndata_file = {tmp_path}/data\nsource = {project.root}\n"
    env["COVERAGE_PROCESS_START"] = str(project.write(".coveragerc", settings))
    project.suite({"a": "import mine; mine.value", "b": "import mine"})
    starts, _ = warm(project, env, "--launcher-option", "preload=json", forked=False)
    assert starts == {"a": "warm", "b": "warm"}
    measured: set[str] = set()
    for file in tmp_path.glob("data.*"):
        data = CoverageData(str(file))
        data.read()
        measured |= {Path(name).name for name in data.measured_files()}
    assert measured >= {"mine.py", "work.py"}


TORCH = """
import torch
from torch.utils.data import DataLoader, TensorDataset

unseeded = torch.rand(4).tolist()
torch.manual_seed(7)
inputs, targets = torch.randn(64, 20), torch.randint(0, 2, (64,))
model = torch.nn.Linear(20, 2)
descent = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(5):
    loss = torch.nn.functional.cross_entropy(model(inputs), targets)
    descent.zero_grad()
    loss.backward()
    descent.step()
with torch.no_grad():  # a pool of threads, and processes of its own
    product = float((torch.ones(300, 300) @ torch.ones(300, 300)).sum())
    batches = [float(batch.sum()) for (batch,) in DataLoader(TensorDataset(inputs), batch_size=16, num_workers=2)]
torch.save(model.state_dict(), folder / "model.pt")
told = [float(loss), product, batches, sorted(torch.load(folder / "model.pt")), torch.get_num_threads()]
(folder / "results.json").write_text(json.dumps({"unseeded": unseeded, "told": told}))
"""


def test_torch_is_in_a_fork_as_in_a_fresh_process(project: Project, tmp_path: Path) -> None:
    """The same numbers where a script seeds it, fresh ones where not: its own generator is seeded anew."""
    pytest.importorskip("torch", reason="PyTorch is not here: `nox -s torch` installs it")
    project.suite(dict.fromkeys(("a", "b"), TORCH))
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert project.run("-p", "1", env=env).code == 0
    cold = [json.loads((project.run_dir / variant / "results.json").read_text()) for variant in "ab"]
    warm(project, env)
    starts, _ = warm(project, env)
    assert starts == {"a": "warm", "b": "warm"}
    forked = [json.loads((project.run_dir / variant / "results.json").read_text()) for variant in "ab"]
    assert [each["told"] for each in forked] == [each["told"] for each in cold]
    assert len({str(each["unseeded"]) for each in cold + forked}) == 4
