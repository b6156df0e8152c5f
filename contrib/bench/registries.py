"""Pull and push of an image of 10,000 files in 8 layers, with a registry beside each engine; and many images."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from harness import images
from harness.engine import Engine
from harness.http import UnixConnection
from harness.registry import Registry
from measure import Measure, Workload, cli

MANY = 300


@contextlib.contextmanager
def _pushed(engine: Engine, layer: Callable[[int, int], bytes]) -> Iterator[tuple[Registry, str]]:
    """An image that is in a registry and in the engine."""
    registry = Registry(engine.netns)
    name = f"{registry.host}/files:1"
    image = images.Image([name], [layer(number, 1250) for number in range(8)])
    try:
        engine.docker.ok("load", stdin=images.docker_archive([image]))
        engine.docker.ok("push", name)
        yield registry, name
    finally:
        engine.docker("rmi", "-f", name)
        registry.close()


def pull(layer: Callable[[int, int], bytes]) -> Callable[[Engine], AbstractContextManager[Measure]]:
    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        with _pushed(engine, layer) as (_, name):

            def run() -> float:
                cli(engine, "rmi", name)
                os.sync()
                return cli(engine, "pull", "-q", name)

            yield run

    return prepare


def pull_cpu(layer: Callable[[int, int], bytes]) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """Processor time of the daemon with all its processes, those that ended too, in milliseconds."""

    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        with pull(layer)(engine) as timed:

            def run() -> float:
                cli(engine, "version")
                before = _processor_ms(engine.pid)
                timed()
                return _processor_ms(engine.pid) - before

            yield run

    return prepare


def _processor_ms(pid: int) -> float:
    status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(int(ticks) for ticks in status[11:15]) * 1000 / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return own + sum(_processor_ms(int(child)) for path in children for child in path.read_text().split())


def ping_while_pulling(layer: Callable[[int, int], bytes]) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """p99 of a GET of `/_ping` on a kept connection, a thousand a second at most, in milliseconds."""

    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        connection = UnixConnection(engine.socket, 30)
        with pull(layer)(engine) as timed, ThreadPoolExecutor(1) as pool, contextlib.closing(connection):

            def run() -> float:
                pulling, took = pool.submit(timed), []
                while not pulling.done():
                    began = time.perf_counter()
                    connection.request("GET", "/_ping")
                    connection.getresponse().read()
                    took.append(time.perf_counter() - began)
                    time.sleep(0.001)
                pulling.result()
                return statistics.quantiles(took, n=100)[98] * 1000

            yield run

    return prepare


@contextlib.contextmanager
def many_images(engine: Engine) -> Iterator[Measure]:
    base = images.layer(images.entry("base", b"base"))
    own = [images.layer(images.entry("own", str(number).encode())) for number in range(MANY)]
    made = [images.Image([f"many:{number}"], [base, layer]) for number, layer in enumerate(own)]
    engine.docker.ok("load", "-q", stdin=images.docker_archive(made), timeout_s=600)
    try:
        yield lambda: cli(engine, "images")
    finally:
        engine.docker("rmi", "-f", *(f"many:{number}" for number in range(MANY)), timeout_s=600)


def pull_again(layer: Callable[[int, int], bytes]) -> Callable[[Engine], AbstractContextManager[Measure]]:
    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        with _pushed(engine, layer) as (_, name):
            cli(engine, "pull", name)
            yield lambda: cli(engine, "pull", name)

    return prepare


def push(layer: Callable[[int, int], bytes]) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """Of layers that are not compressed here, to a registry that has nothing."""

    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        with _pushed(engine, layer) as (registry, name):

            def run() -> float:
                shutil.rmtree(registry.root / "data")
                return cli(engine, "push", "-q", name)

            yield run

    return prepare


def workloads(layer: Callable[[int, int], bytes]) -> list[Workload]:
    return [
        Workload("pull, 10k files in 8 layers", pull(layer), runs=5, ratio_goal=1.5),
        Workload("pull, nothing to fetch", pull_again(layer), runs=10, ratio_goal=1),
        Workload("pull, 10k files in 8 layers, processor", pull_cpu(layer), runs=5, ratio_goal=1),
        Workload("GET /_ping while that is pulled, p99", ping_while_pulling(layer), runs=3, limit=20),
        Workload(f"docker images, {MANY} images", many_images, ratio_goal=1),
        Workload("push, 10k files in 8 layers", push(layer), runs=5, ratio_goal=1),
    ]
