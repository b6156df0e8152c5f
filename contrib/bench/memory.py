"""Memory by PSS: what a running container costs beyond its own processes, and what the idle engine takes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from harness.engine import Engine, processes_in
from measure import Measure, Workload
from workloads import MANY, remove_many, start_many

PER_CONTAINER = ("lightship-shim", "containerd-shim", "docker-proxy")


def processes(engine: Engine) -> dict[int, str]:
    """The engine's processes on its host (not those in containers) with their names."""
    mounts, found = os.readlink("/proc/self/ns/mnt"), {}
    for pid in processes_in(engine.netns):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/mnt") == mounts:
                found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
    return found


def pss_mib(pids: list[int]) -> float:
    kib = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            kib += next(
                int(line.split()[1])
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                if line.startswith("Pss:")
            )
    return kib / 1024


def container(*flags: str) -> Callable[[Engine], AbstractContextManager[Measure]]:
    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        start_many(engine, *flags)
        time.sleep(10)  # what a start needed for a moment is given back

        def run() -> float:
            return pss_mib([pid for pid, name in processes(engine).items() if name.startswith(PER_CONTAINER)]) / MANY

        try:
            yield run
        finally:
            remove_many(engine)

    return prepare


@contextlib.contextmanager
def idle(engine: Engine) -> Iterator[Measure]:
    yield lambda: pss_mib(list(processes(engine)))


PORTS = ("-p", "80", "-p", "81", "-p", "82")
ALL = [
    Workload(f"memory a container (PSS, of {MANY})", container(), "MiB", runs=3, limit=1.2),
    Workload("memory a container with 3 published ports (PSS)", container(*PORTS), "MiB", runs=3, limit=1.2),
    Workload("memory of the idle engine, all processes (PSS)", idle, "MiB", runs=3, limit=60),
]
