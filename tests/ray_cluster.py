"""A Ray cluster of this machine: a head without CPUs, and nodes that come and go at a word on standard input.

    head DASHBOARD_PORT | add | remove | lose-head | end

Each is answered by a line. When standard input ends, so does all of it.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

STORE_BYTES = 80 << 20  # the least that Ray takes is 75 MiB

PATIENCE_S = 240


def begun(start: Callable[[], Any], tries: int = 4) -> Any:
    """A cluster or a node; on a busy machine it may not come up in the 30 s that Ray gives it."""
    for left in reversed(range(tries)):
        try:
            return start()
        except Exception:
            if not left:
                raise
    return None


def lose(node: Any) -> None:
    """Kill a node as the loss of its machine would: agents that Ray would leave behind hold the ports of the next."""
    psutil: Any = importlib.import_module("psutil")  # Ray brings it
    first = [info.process.pid for infos in node.all_processes.values() for info in infos]
    below = [child for pid in first if psutil.pid_exists(pid) for child in psutil.Process(pid).children(recursive=True)]
    node.kill_all_processes(check_alive=False, allow_graceful=False)
    for process in below:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def main() -> None:
    kind: Any = importlib.import_module("ray.cluster_utils").Cluster
    cluster: Any = None
    nodes: list[Any] = []
    for line in sys.stdin:
        word, *numbers = line.split()
        if word == "end":
            break
        if word == "head":
            head = {
                "num_cpus": 0, "include_dashboard": True, "dashboard_port": int(numbers[0]),
                "dashboard_host": "127.0.0.1", "node_ip_address": "127.0.0.1", "object_store_memory": STORE_BYTES,
            }  # fmt: skip
            cluster = begun(lambda head=head: kind(initialize_head=True, head_node_args=head))
        elif word == "add":
            add = functools.partial(cluster.add_node, wait=False, num_cpus=4, object_store_memory=STORE_BYTES)
            nodes.append(begun(add))
            cluster.wait_for_nodes(timeout=PATIENCE_S)
        elif word == "remove":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        elif word == "lose-head":
            lose(cluster.head_node)
        print("done", word, flush=True)
    if cluster is not None:
        cluster.shutdown()


if __name__ == "__main__":
    main()
