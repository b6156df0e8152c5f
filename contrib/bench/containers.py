"""What containers are asked for while they are there: files in and out, statistics, health checks and their cost."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from harness import images
from harness.engine import Engine
from measure import Measure, Workload, cli
from memory import container, processes
from workloads import MANY, command, files_layer, remove_many, sleeping, start_many, with_many

MEGABYTES = 300
FILES = 5000
SECONDS = 10


def big(folder: Path) -> Path:
    """One file that cannot be compressed, nor sparse."""
    path = folder / "big"
    block = bytes(range(256)) * 4096
    with path.open("wb") as file:
        for _ in range(MEGABYTES):
            file.write(block)
    return path


def many(folder: Path) -> Path:
    """Small files, a hundred a directory."""
    path = folder / "many"
    for number in range(FILES):
        directory = path / str(number // 100)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"file-{number}").write_bytes(b"x" * (500 + number % 5000))
    return path


def copied(make: Callable[[Path], Path], *, out: bool) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """`docker cp` into a running container, or out of it."""

    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        with tempfile.TemporaryDirectory() as folder, sleeping(engine) as running:
            source = make(Path(folder))
            inside = f"{running}:/{source.name}"
            into = ("cp", "-q", str(source), f"{running}:/")
            if not out:
                yield lambda: cli(engine, *into)
            else:
                cli(engine, *into)
                yield lambda: cli(engine, "cp", "-q", inside, f"{folder}/copy")

    return prepare


@contextlib.contextmanager
def export(engine: Engine) -> Iterator[Measure]:
    image = images.Image(["files:1"], [files_layer(number, 1250) for number in range(8)])
    engine.docker.ok("load", stdin=images.docker_archive([image]))
    made = engine.docker.ok("create", "files:1", "none")
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield lambda: cli(engine, "export", "-o", f"{folder}/root.tar", made)
    finally:
        engine.docker.ok("rm", made)
        engine.docker.ok("rmi", "files:1")


def cpu_s(engine: Engine) -> float:
    """Processor time of the engine's processes and of those that they have reaped, probes among them."""
    ticks = 0
    for pid in processes(engine):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / 100


@contextlib.contextmanager
def health(engine: Engine) -> Iterator[Measure]:
    """Milliseconds of processor time that a second of one probe a container takes."""
    start_many(engine, "--health-cmd", "true", "--health-interval", "1s")

    def run() -> float:
        before = cpu_s(engine)
        time.sleep(SECONDS)
        return (cpu_s(engine) - before) * 1000 / SECONDS

    try:
        time.sleep(2)
        yield run
    finally:
        remove_many(engine)


# Measured between probes, after the first.
WATCHED = ("--restart", "always", "--health-cmd", "true", "--health-interval", "5m", "--health-start-interval", "1s")
ALL = [
    Workload(f"cp of {MEGABYTES} MB into a container", copied(big, out=False), runs=5, ratio_goal=1),
    Workload(f"cp of {MEGABYTES} MB out of a container", copied(big, out=True), runs=5, ratio_goal=1),
    Workload(f"cp of {FILES} small files into a container", copied(many, out=False), runs=5, ratio_goal=1.5),
    Workload(f"cp of {FILES} small files out of a container", copied(many, out=True), runs=5, ratio_goal=1.5),
    Workload("export, 10k files", export, runs=5, ratio_goal=1),
    Workload(f"stats --no-stream, {MANY} running", with_many(command("stats", "--no-stream")), runs=3, ratio_goal=3),
    Workload(f"CPU of {MANY} health checks a second", health, "ms/s", runs=3, ratio_goal=2),
    Workload(
        "memory a container with restart policy and health check (PSS)", container(*WATCHED), "MiB", runs=3, limit=1.2
    ),
]
