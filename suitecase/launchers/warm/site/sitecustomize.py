"""The fork server of `warm`, in the place where Python's start-up imports `sitecustomize`.

The server is started exactly as a case would be, `python ENTRY_POINT`, with this folder in front of PYTHONPATH. So
`site` imports this module before Python looks at the entry point. Here the server preloads modules and forks
cases; the import returns only in a case's process, and Python goes on with its start-up there: it puts the
script's folder in front of `sys.path`, executes the script as `__main__`, and finishes. Nothing of that is
imitated, and no frame of the server is on a case's stack.

Commands come through descriptor 3, answers go through 4: four bytes of length, and a marshalled list.
"""

import os
import sys

__all__ = []

COMMANDS, ANSWERS = 3, 4
FOLDER = os.path.dirname(os.path.abspath(__file__))

if not isinstance(__builtins__, dict):  # for type checkers: always so in an imported module
    raise ImportError(name=__name__)


class LeftOut(BaseException):
    """A module that must not be preloaded was about to be imported. No `except Exception` stops it."""


def built_in(name):
    """A module that Python has without files, or a library's own, not left behind in `sys.modules`."""
    known = name in sys.modules
    module = __import__(name)
    if not known:
        del sys.modules[name]
    return module


gc, marshal, resource = built_in("gc"), built_in("marshal"), built_in("resource")
thread = built_in("_thread")


# --- Messages --------------------------------------------------------------------------------------------------------


def answer(*message):
    text = marshal.dumps(list(message))
    text = len(text).to_bytes(4, "big") + text
    while text:
        text = text[os.write(ANSWERS, text) :]


def read_exactly(count):
    text = b""
    while len(text) < count:
        if not (part := os.read(COMMANDS, count - len(text))):
            os._exit(0)  # the guardian is gone
        text += part
    return text


def next_command():
    return marshal.loads(read_exactly(int.from_bytes(read_exactly(4), "big")))


# --- Preloading ------------------------------------------------------------------------------------------------------


class Watch:
    """What modules do while they are imported, and which of it a fork would not survive.

    Attributes:
        left_out: Why modules can't be preloaded, by name.
        variables: Environment variables that were read or set.
    """

    def __init__(self, folders, left_out):
        self.folders = tuple(folder + "/" for folder in folders)
        self.blocked = dict.fromkeys(left_out)
        self.left_out = {}
        self.variables = set()
        self.importing = []
        self.state = self.look()
        self.originals = []

    def __enter__(self):
        external = sys.modules["_frozen_importlib_external"]
        environ = type(os.environ)
        self.replace(external._LoaderBasics, "exec_module", self.watched)
        self.replace(external.ExtensionFileLoader, "exec_module", self.watched)
        for method in ("__getitem__", "__setitem__", "__delitem__"):
            self.replace(environ, method, self.noted)
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *_):
        sys.meta_path.remove(self)
        for owner, name, original in self.originals:
            setattr(owner, name, original)

    def replace(self, owner, name, wrap):
        original = getattr(owner, name)
        self.originals.append((owner, name, original))
        setattr(owner, name, wrap(original))

    def noted(self, method):
        def note(environ, name, *value):
            self.variables.add(os.fsdecode(name) if isinstance(name, (str, bytes)) else "")
            return method(environ, name, *value)

        return note

    def watched(self, execute):
        def exec_module(loader, module):
            self.check()
            self.importing.append(module.__spec__.name)
            origin = module.__spec__.origin
            if not (isinstance(origin, str) and origin.startswith(self.folders)):
                self.blame(f"imports {module.__spec__.name}, which is not installed: {origin}")
            try:
                execute(loader, module)
            finally:
                self.check()
                self.importing.pop()

        return exec_module

    def find_spec(self, name, path=None, target=None):
        """Refuse modules that are left out, and remember who wanted them, whatever they make of the refusal."""
        if name in self.blocked:
            self.blame(f"imports {name}")
            raise LeftOut(name)

    def blame(self, reason):
        for name in self.importing:
            self.left_out.setdefault(name, reason)

    def look(self):
        """The lowest free descriptor, Python's threads, and how much was written."""
        free = os.dup(0)
        os.close(free)
        return free, thread._count(), os.fstat(1).st_size

    def check(self):
        """Blame what changed on the module that is being executed."""
        free, threads, written = state = self.look()
        if state == self.state or not self.importing:
            return
        reason = "writes to its output"
        if free != self.state[0]:
            reason = f"opens {os.readlink(f'/proc/self/fd/{self.state[0]}')}" if free > self.state[0] else "closes files"
            if "/dev/nvidia" in reason:
                reason = "initialises CUDA, which no fork can use"
        elif threads != self.state[1]:
            reason = "starts a thread"
        self.state = state
        self.left_out.setdefault(self.importing[-1], reason)


def preload(modules, folders, left_out):
    """Import modules; what to leave out in the next server, if anything, and the variables that were looked at."""
    bootstrap = sys.modules["_frozen_importlib"]
    before = set(sys.modules)
    with Watch(folders, left_out) as watch:
        for name in modules:
            if name in sys.modules or name in watch.blocked:
                continue
            try:
                bootstrap._gcd_import(name)
            except LeftOut:
                watch.left_out.setdefault(name, "imports what is left out")
            except BaseException as error:
                watch.left_out.setdefault(name, f"can't be imported: {type(error).__name__}: {error}"[:300])
            watch.check()
    for path in [path for path in sys.path_importer_cache if not (path + "/").startswith(watch.folders)]:
        del sys.path_importer_cache[path]  # a case looks into the project's folders anew
    loaded = [name for name in sys.modules if name not in before]
    if os.environ.get("KEEP"):
        keep([name for name in loaded if type(sys.modules[name]) is type(sys)])
    gc.collect()
    gc.freeze()
    answer("ready", loaded, watch.left_out, sorted(watch.variables))


# --- Forking ---------------------------------------------------------------------------------------------------------


def fork_case(mark, arguments, variables, log, memory_bytes, report):
    """Fork a case; true in its process. It is reaped when the guardian says so, and by it if the server is gone."""
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
        os._exit(0)
    os.close(ANSWERS)
    become(arguments, variables)
    if report:
        report_modules(*report)
    return True


def prepare(mark, log, memory_bytes):
    """Give this process what a case inherits: its mark, its limit of memory, its log."""
    resource.setrlimit(10, (mark, resource.getrlimit(10)[1]))  # RLIMIT_LOCKS
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass
    if memory_bytes is not None:
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        except (OSError, ValueError):
            pass
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


def become(arguments, variables):
    """Make this process the one that Python would have started with these arguments and variables."""
    sys.argv[1:] = [os.fsdecode(argument) for argument in arguments]
    sys.orig_argv[2:] = sys.argv[1:]
    for name, value in variables.items():
        os.environ[os.fsdecode(name)] = os.fsdecode(value)
    modules = sys.modules
    if b"TZ" in variables:
        built_in("time").tzset()
    if "numpy.random.mtrand" in modules:
        modules["numpy.random.mtrand"]._rand.seed()  # `random` does it itself
    if "multiprocessing.process" in modules:
        process = modules["multiprocessing.process"].current_process()
        process.authkey = os.urandom(len(process.authkey))
    if "logging" in modules:
        clock = built_in("time")
        logging = modules["logging"]
        logging._startTime = clock.time_ns() if isinstance(logging._startTime, int) else clock.time()
    if os.environ.get("COVERAGE_PROCESS_START") or os.environ.get("COVERAGE_PROCESS_CONFIG"):
        __import__("coverage").process_startup()


class Kept:
    """A preloaded module at the end of a case: what is no module, Python doesn't take apart."""


kept = {}


def keep(names):
    """Have preloaded modules left as they are when a case ends: taking them apart copies every page they lie on."""
    for name in names:
        module = sys.modules[name]
        stand_in = Kept()
        stand_in.__dict__ = module.__dict__
        kept[name] = module, stand_in
    kept[""] = kept, None  # a cycle, which the frozen garbage collector never breaks
    built_in("atexit").register(leave_kept)


def leave_kept():
    """Called after all else that `atexit` knows."""
    files = sys.modules["io"]
    for each in gc.get_objects():  # what preloaded modules hold would have been closed
        if isinstance(each, (files.BufferedWriter, files.BufferedRandom, files.TextIOWrapper)):
            try:
                each.flush()
            except Exception:
                pass
    for name, (module, stand_in) in kept.items():
        if sys.modules.get(name) is module:
            sys.modules[name] = stand_in


def report_modules(path, folders):
    """Have the third-party modules that are loaded at the end written into a file; `atexit` calls the first one last."""
    folders = tuple(folder + "/" for folder in folders)

    def report():
        found = []
        for name, module in list(sys.modules.items()):
            origin = getattr(getattr(module, "__spec__", None), "origin", None)
            if isinstance(origin, str) and origin.startswith(folders) and module.__spec__.name == name != "__main__":
                found.append(name)
        with open(path, "wb") as file:
            marshal.dump(found, file)

    built_in("atexit").register(report)


# --- Life ------------------------------------------------------------------------------------------------------------


def restore_start_up():
    """Undo how this module came to be imported, and import the `sitecustomize` that a case would have."""
    sys.path.remove(FOLDER)
    sys.path_importer_cache.pop(FOLDER, None)
    after = os.environ["PYTHONPATH"].partition(os.pathsep)[2]
    if after:
        os.environ["PYTHONPATH"] = after
    else:
        del os.environ["PYTHONPATH"]
    if os.environ.pop("SUITECASE_HASH_SEED", None):
        del os.environ["PYTHONHASHSEED"]
    sys.modules.pop(__name__)
    try:
        __import__(__name__)
    except ImportError as error:
        if error.name != __name__:
            raise


def serve():
    """Obey the guardian; returns in the process of a case."""
    answer("hello", os.getpid())
    while True:
        do, *details = next_command()
        if do == "preload":
            preload(*details)
        elif do == "reap":
            pid, status, used = os.wait4(*details, 0)
            answer("ended", pid, status, used.ru_utime, used.ru_stime, used.ru_maxrss)
        elif do == "launch" and fork_case(*details):
            return


restore_start_up()
serve()
if __name__ not in sys.modules:
    raise ImportError(name=__name__)  # as where there is no such module, which is no error
