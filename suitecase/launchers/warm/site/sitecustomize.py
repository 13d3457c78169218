"""The fork server of `warm`, in the place where Python's start-up imports `sitecustomize`.

The server is started exactly as a case would be, `python ENTRY_POINT`, with this folder in front of PYTHONPATH. So
`site` imports this module before Python looks at the entry point. Here the server preloads modules and forks
cases; the import returns only in a case's process, and Python goes on with its start-up there: it puts the
script's folder in front of `sys.path`, executes the script as `__main__`, and finishes. Nothing of that is
imitated, and no frame of the server is on a case's stack.

Commands come through descriptor 3, answers go through 4: four bytes of length, and a marshalled list. Whatever is
imported here would be found imported by cases; so only what Python has at its start is used, or hidden again.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any

__all__: "list[str]" = []

COMMANDS, ANSWERS = 3, 4
FOLDER = os.path.dirname(os.path.abspath(__file__))
RLIMIT_LOCKS = 10  # the mark of an attempt; see `Guard` of experiment_runner.py


class LeftOut(BaseException):
    """A module that must not be preloaded was about to be imported. No `except Exception` stops it."""


def hidden(name: str) -> "ModuleType":
    """A module of Python's own, not left behind in `sys.modules`."""
    known = name in sys.modules
    module = __import__(name)
    if not known:
        del sys.modules[name]
    return module


gc: "Any" = hidden("gc")
marshal: "Any" = hidden("marshal")
resource: "Any" = hidden("resource")
thread: "Any" = hidden("_thread")


# --- Messages --------------------------------------------------------------------------------------------------------


def answer(*message: object) -> None:
    text: bytes = marshal.dumps(list(message))
    text = len(text).to_bytes(4, "big") + text
    while text:
        text = text[os.write(ANSWERS, text) :]


def read_exactly(count: int) -> bytes:
    text = b""
    while len(text) < count:
        part = os.read(COMMANDS, min(count - len(text), 1 << 20))
        if not part:
            os._exit(0)  # the guardian is gone
        text += part
    return text


def next_command() -> "list[Any]":
    return marshal.loads(read_exactly(int.from_bytes(read_exactly(4), "big")))


# --- Preloading ------------------------------------------------------------------------------------------------------


class Watch:
    """Sees what modules do while they are imported that a fork would not survive, or that cases would miss.

    Attributes:
        left_out: Why modules can't be preloaded, by name.
        variables: Environment variables that were read or set.
        importing: Modules that are being executed, the innermost last.
    """

    def __init__(self, folders: "Sequence[str]", blocked: "Sequence[str]") -> None:
        self.folders = tuple(folder + "/" for folder in folders)
        self.blocked = frozenset(blocked)
        self.left_out: dict[str, str] = {}
        self.variables: set[str] = set()
        self.importing: list[str] = []
        self.originals: list[tuple[Any, str, Any]] = []
        self.state = self.look()

    def __enter__(self) -> "Watch":
        external: Any = sys.modules["_frozen_importlib_external"]
        self.replace(external._LoaderBasics, "exec_module", self.watched)
        self.replace(external.ExtensionFileLoader, "exec_module", self.watched)
        for method in ("__getitem__", "__setitem__", "__delitem__"):
            self.replace(type(os.environ), method, self.noted)
        sys.meta_path.insert(0, self)  # type: ignore[arg-type]
        return self

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        for owner, name, original in self.originals:
            setattr(owner, name, original)

    def replace(self, owner: "Any", name: str, wrap: "Callable[[Any], Any]") -> None:
        original = owner.__dict__[name]
        self.originals.append((owner, name, original))
        setattr(owner, name, wrap(original))

    def noted(self, method: "Callable[..., Any]") -> "Callable[..., Any]":
        def note(environ: "Any", name: "Any", *value: "Any") -> "Any":
            if isinstance(name, (str, bytes)):
                self.variables.add(os.fsdecode(name))
                if os.fsdecode(name).startswith("SUITECASE_") and self.importing:
                    self.left_out.setdefault(self.importing[-1], f"reads {os.fsdecode(name)}, which each case has anew")
            return method(environ, name, *value)

        return note

    def watched(self, execute: "Callable[..., Any]") -> "Callable[..., Any]":
        def exec_module(loader: "Any", module: "Any") -> None:
            self.check()
            name, origin = module.__spec__.name, module.__spec__.origin
            self.importing.append(name)
            if not (isinstance(origin, str) and origin.startswith(self.folders)):
                self.blame(f"imports {name}, which is not installed: {origin}")
            try:
                execute(loader, module)
            finally:
                self.check()
                self.importing.pop()

        return exec_module

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Refuse modules that are left out, and remember who wanted them, whatever they make of the refusal."""
        if name in self.blocked:
            self.blame(f"imports {name}")
            raise LeftOut(name)

    def blame(self, reason: str) -> None:
        """Leave out all that is being imported: an outer module would be another one without the inner."""
        for name in self.importing:
            self.left_out.setdefault(name, reason)

    def look(self) -> "tuple[int, int, int]":
        """The lowest free descriptor, the number of Python's threads, and how much was written."""
        free = os.dup(0)
        os.close(free)
        return free, thread._count(), os.fstat(1).st_size

    def check(self) -> None:
        """Blame what has changed on the module that is being executed."""
        before, self.state = self.state, self.look()
        if before == self.state or not self.importing:
            return
        if self.state[0] > before[0]:
            opened = os.readlink(f"/proc/self/fd/{before[0]}")
            cuda = opened.startswith("/dev/nvidia")
            reason = "initialises CUDA, which no forked process can use" if cuda else f"opens {opened}"
        elif self.state[1] > before[1]:
            reason = "starts a thread"
        elif self.state[2] > before[2]:
            reason = "writes to its output, which belongs into every case's log"
        else:
            return
        self.left_out.setdefault(self.importing[-1], reason)


def preload(modules: "Sequence[str]", folders: "Sequence[str]", blocked: "Sequence[str]", aloud: bool) -> None:
    """Import modules, and answer with what was loaded, what another server must leave out, and which variables count.

    Args:
        modules: In the order in which a case imported them.
        folders: Where what is installed lies; nothing else may be loaded.
        blocked: Modules that must not be imported.
        aloud: Whether to say each name, so that it is known which one ended the process.
    """
    bootstrap: Any = sys.modules["_frozen_importlib"]
    atexit: Any = hidden("atexit")
    atexit.register(leave_kept)  # before any module does: the first to be registered is the last to be called
    before = set(sys.modules)
    with Watch(folders, blocked) as watch:
        for name in modules:
            if name in sys.modules or name in watch.blocked:
                continue
            if aloud:
                answer("importing", name)
            try:
                bootstrap._gcd_import(name)
            except LeftOut as error:
                watch.left_out.setdefault(name, f"imports {error}")
            except BaseException as error:
                watch.left_out.setdefault(name, f"can't be imported: {type(error).__name__}: {error}"[:200])
    for path in [path for path in sys.path_importer_cache if not (path + "/").startswith(watch.folders)]:
        del sys.path_importer_cache[path]  # cases look into the project's folders anew
    loaded = [name for name in sys.modules if name not in before]
    if not any(map(counts_leaks, loaded)):
        keep([name for name in loaded if type(sys.modules[name]) is type(sys)])
    gc.collect()
    gc.freeze()  # or the collector would write to every object, and copy its page
    renew_main()
    answer("ready", loaded, watch.left_out, sorted(watch.variables))


def renew_main() -> None:
    """Have another `__main__`, one that is not frozen: the collector would never find unused what a script holds."""
    frozen = sys.modules["__main__"]
    sys.modules["__main__"] = renewed = type(sys)("__main__")
    renewed.__dict__.update(frozen.__dict__)
    for module in [*sys.modules.values()]:
        if type(module) is type(sys):
            for name in [name for name, value in vars(module).items() if value is frozen]:
                setattr(module, name, renewed)


# --- Forking ---------------------------------------------------------------------------------------------------------


def fork_case(
    mark: int, arguments: "list[bytes]", variables: "dict[bytes, bytes]", log: bytes, memory_bytes: "int | None",
    report: "list[Any] | None",
) -> bool:  # fmt: skip
    """Fork a case; true in its process."""
    try:
        pid = os.fork()
    except OSError as error:
        answer("refused", mark, error.errno)
        return False
    if pid:
        answer("forked", mark, pid)
        return False
    os.close(COMMANDS)
    os.setsid()
    try:
        prepare(mark, log, memory_bytes)
    except OSError as error:
        answer("unprepared", mark, error.errno)
        os._exit(1)
    os.close(ANSWERS)
    become(arguments, variables)
    if report:
        report_modules(*report)
    return True


def prepare(mark: int, log: bytes, memory_bytes: "int | None") -> None:
    """Give this process what `Guard.launch` gives a case: its mark, its limit of memory, its log."""
    limits = [(RLIMIT_LOCKS, mark, resource.getrlimit(RLIMIT_LOCKS)[1])]
    if memory_bytes is not None:
        limits.append((resource.RLIMIT_DATA, memory_bytes, memory_bytes))
    for limit, soft, hard in limits:
        try:
            resource.setrlimit(limit, (soft, hard))
        except (OSError, ValueError):
            pass
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


def become(arguments: "list[bytes]", variables: "dict[bytes, bytes]") -> None:
    """Make this process the one that Python would have started with these arguments and variables."""
    sys.argv[1:] = [os.fsdecode(argument) for argument in arguments]
    sys.orig_argv[2:] = sys.argv[1:]
    for name, value in variables.items():
        os.environ[os.fsdecode(name)] = os.fsdecode(value)
    modules: Any = sys.modules
    clock: Any = hidden("time")
    if b"TZ" in variables:
        clock.tzset()
    if "numpy.random.mtrand" in modules:
        modules["numpy.random.mtrand"]._rand.seed()  # `random` does it itself
    # Those of GPUs are made when CUDA is initialised, which is never before a case.
    if generator := getattr(modules.get("torch"), "default_generator", None):
        generator.seed()
    if "multiprocessing.process" in modules:
        process = modules["multiprocessing.process"].current_process()
        process.authkey = os.urandom(len(process.authkey))
    if "threading" in modules:  # which at a fork renews only the other kind of identity
        modules["threading"].main_thread()._set_native_id()
    if "logging" in modules:  # LogRecord.relativeCreated counts from here
        logging = modules["logging"]
        logging._startTime = clock.time_ns() if isinstance(logging._startTime, int) else clock.time()
    if "inspect_ai.log._file" in modules and b"INSPECT_LOG_DIR" in variables:
        renew_defaults(modules["inspect_ai.log._file"], "log_dir", os.environ["INSPECT_LOG_DIR"])
    if os.environ.get("COVERAGE_PROCESS_START") or os.environ.get("COVERAGE_PROCESS_CONFIG"):
        coverage: Any = __import__("coverage")  # as its .pth file does
        coverage.process_startup()


def renew_defaults(module: "ModuleType", parameter: str, value: str) -> None:
    """Give the functions of a module another default, where it had been read from a variable at import."""
    functions: list[Any] = list(vars(module).values())
    for function in functions:
        code, defaults = getattr(function, "__code__", None), getattr(function, "__defaults__", None)
        if code is not None and defaults and function.__module__ == module.__name__:
            names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
            if parameter in names and isinstance(defaults[names.index(parameter)], str):
                at = names.index(parameter)
                function.__defaults__ = (*defaults[:at], value, *defaults[at + 1 :])


# --- The end of a case -----------------------------------------------------------------------------------------------


class StandIn:
    """Stands for a preloaded module while Python takes all modules apart, which leaves alone what is none."""


kept: "dict[str, Any]" = {}


def counts_leaks(name: str) -> bool:
    """Whether a module was made with nanobind, which writes to the log what of it is still there at the end."""
    module = sys.modules[name]
    return type(module) is type(sys) and any(type(value).__module__ == "nanobind" for value in vars(module).values())


def keep(names: "Sequence[str]") -> None:
    """Have preloaded modules left as they are when a case ends: taking them apart copies every page they lie on."""
    for name in names:
        kept[name] = StandIn()
        kept[name].__dict__ = sys.modules[name].__dict__
    # A cycle, and references that the frozen collector never finds unused.
    leave_kept.modules = [*map(sys.modules.get, names), leave_kept]  # type: ignore[attr-defined]


def leave_kept() -> None:
    """Have what the kept modules hold written; it would have been when they were taken apart."""
    if not kept:
        gc.unfreeze()
        return
    io: Any = sys.modules["io"]
    files = (io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)
    for each in gc.get_objects():  # since the fork
        if isinstance(each, files):
            try:
                each.flush()
            except Exception:
                pass
    sys.modules.update(kept)


def report_modules(path: bytes, folders: "Sequence[str]") -> None:
    """Have the installed modules that are loaded at the end of a case written into a file."""
    installed = tuple(folder + "/" for folder in folders)

    def report() -> None:
        found: list[str] = []
        for name, module in list(sys.modules.items()):
            spec = getattr(module, "__spec__", None)
            origin = getattr(spec, "origin", None)
            if isinstance(origin, str) and origin.startswith(installed) and getattr(spec, "name", "") == name:
                found.append(name)
        try:
            with open(path, "wb") as file:
                marshal.dump(found, file)
        except Exception:  # no space, no descriptor, no memory: another case will tell
            pass

    atexit: Any = hidden("atexit")
    atexit.register(report)


# --- Life ------------------------------------------------------------------------------------------------------------


def restore_start_up() -> None:
    """Undo how this module came to be imported, and import the `sitecustomize` that a case would have."""
    sys.path.remove(FOLDER)
    sys.path_importer_cache.pop(FOLDER, None)
    own_path = os.environ["PYTHONPATH"].partition(os.pathsep)[2]
    if own_path:
        os.environ["PYTHONPATH"] = own_path
    else:
        del os.environ["PYTHONPATH"]
    if os.environ.pop("SUITECASE_HASH_SEED", ""):
        del os.environ["PYTHONHASHSEED"]
    del sys.modules[__name__]
    try:
        __import__(__name__)
    except ImportError as error:
        if error.name != __name__:
            raise


def serve() -> None:
    """Obey the guardian; returns in the process of a case."""
    answer("hello")
    while True:
        do, *details = next_command()
        if do == "preload":
            preload(*details)
        elif do == "reap":
            pid, status, used = os.wait4(details[0], 0)
            answer("ended", pid, status, used.ru_utime, used.ru_stime, used.ru_maxrss)
        elif fork_case(*details):
            return


def serve_or_exit() -> None:
    """Whatever goes wrong, the entry point must not be executed as if this were a case."""
    try:
        restore_start_up()
        serve()
    except BaseException as error:
        sys.stderr.write(f"the fork server failed: {type(error).__name__}: {error}\n")
        os._exit(70)


if __name__ == "sitecustomize":
    serve_or_exit()
    if __name__ not in sys.modules:
        raise ImportError(name=__name__)  # as where there is no such module: `site` passes over it
