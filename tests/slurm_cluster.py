"""A private Slurm cluster of two nodes on loopback: daemons, ports, keys and folders of its own.

`python3 dev.py clusters` runs the tests that need it. Debian and Ubuntu: apt-get install slurm-wlm munge.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from conftest import alive, wait_for

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scancel", "scontrol", "setpriv")
SYSTEM_FOLDERS = "/usr/sbin:/usr/local/sbin:/sbin"

# The scheduler looks at once: by itself it holds back bursts of short jobs. Nothing listens but on 127.0.0.1.
CONFIGURATION = """\
ClusterName=suitecase
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=1
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=10
KillWait=15
MaxArraySize={largest_array}
MpiDefault=none
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=16 RealMemory=64000 Gres=gpu:fake:2
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=16 RealMemory=64000 Gres=gpu:fake:2
PartitionName=debug Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL GraceTime=20
PartitionName=urgent Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=10
"""


def missing() -> list[str]:
    """What a private cluster needs and this machine lacks."""
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}"
    return [name for name in NEEDED if shutil.which(name, path=path) is None]


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@dataclass
class Cluster:
    """The daemons, children of this process, which takes them along if it dies.

    Attributes:
        more: Further lines of its configuration.
    """

    folder: Path
    more: str = ""
    largest_array: int = 300
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, "subprocess.Popen[bytes]"])

    def __post_init__(self) -> None:
        self.configuration = self.folder / "slurm.conf"
        self.variable = f"SLURM_CONF={self.configuration}".encode()
        path = f"{os.environ['PATH']}:{SYSTEM_FOLDERS}"
        self.environment = {**os.environ, "SLURM_CONF": str(self.configuration), "PATH": path}

    def start(self) -> None:
        """Start everything, and wait until both nodes take jobs."""
        self.folder.chmod(0o755)  # munged wants its socket reachable for all
        (self.folder / "state").mkdir()
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        text = CONFIGURATION.format(
            folder=self.folder, user=user, ports=free_ports(3), largest_array=self.largest_array
        )
        self.configuration.write_text(text + self.more)
        (self.folder / "gres.conf").write_text(
            "AutoDetect=off\nNodeName=n[1-2] Name=gpu Type=fake File=/dev/tty[0-1]\n"
        )
        (self.folder / "munge.key").write_bytes(os.urandom(1024))
        (self.folder / "munge.key").chmod(0o400)
        places = [f"--{what}={self.folder}/munge.{end}" for what, end in MUNGE_FILES.items()]
        self.daemon("munged", "munged", "--foreground", "--force", *places)
        wait_for((self.folder / "munge.socket").exists, "munged's socket")
        self.daemon("slurmctld", "slurmctld", "-D")
        for node in ("n1", "n2"):
            (self.folder / f"spool.{node}").mkdir()
            self.start_node(node)
        wait_for(self.is_idle, "two idle nodes")

    def is_idle(self) -> bool:
        """Whether both nodes are there and have nothing to do; a node that was set aside is taken in again."""
        states = self.ask("sinfo", "-h", "-N", "-p", "debug", "-o", "%T").split()
        if any(state.startswith(("drain", "down")) for state in states):
            self.ask("scontrol", "update", "NodeName=n1,n2", "State=RESUME")
        return states == ["idle", "idle"]

    def daemon(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command], env=self.environment, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def start_node(self, node: str) -> None:
        self.daemon(node, "slurmd", "-D", "-N", node)

    def ask(self, *command: str) -> str:
        """What a command of Slurm's prints; empty if it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        return done.stdout.strip() if done.returncode == 0 else ""

    def kill_daemon(self, name: str) -> None:
        """kill -9 of one daemon; what it started goes on."""
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def stop_controller(self) -> None:
        """End the controller, which saves what it knows; nodes and jobs go on."""
        controller = self.daemons.pop("slurmctld")
        controller.terminate()
        controller.wait()

    def kill_node(self, node: str) -> None:
        """What a power cut does to a node: all its processes are gone at once, and nobody has told the controller."""
        self.kill_daemon(node)
        here = f"SLURMD_NODENAME={node}".encode()
        pids = [pid for pid in processes_with(here) if self.variable in variables_of(pid)]
        pids += {parent for pid in pids if b"slurmstepd" in command_of(parent := parent_of(pid))}
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def stop(self) -> None:
        """End every job, every daemon, and what is left of either."""
        self.ask("scancel", "--full", "--signal=KILL", "--user", str(os.getuid()))
        for daemon in self.daemons.values():
            daemon.kill()
        for daemon in self.daemons.values():
            daemon.wait()
        deadline = time.monotonic() + 10
        while (left := processes_with(self.variable)) and time.monotonic() < deadline:
            for pid in left:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


MUNGE_FILES = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}


def processes_with(variable: bytes) -> list[int]:
    """The living processes that have a variable, this one aside."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if pid != os.getpid() and variable in variables_of(pid) and alive(pid)]


def variables_of(pid: int) -> list[bytes]:
    return read(pid, "environ").split(b"\0")


def command_of(pid: int) -> bytes:
    return read(pid, "cmdline")


def parent_of(pid: int) -> int:
    fields = read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def read(pid: int, name: str) -> bytes:
    """A file of /proc; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
