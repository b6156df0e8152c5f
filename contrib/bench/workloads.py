"""The everyday operations: run, exec, start, stop, rm, many at once, images, the API's latency, the daemon's start."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import registries
from harness import images
from harness.engine import Engine
from harness.http import UnixConnection
from measure import Measure, Workload, cli

MANY = 60


def command(*args: str) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """A CLI command that can be repeated as it is."""

    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        cli(engine, *args)
        yield lambda: cli(engine, *args)

    return prepare


@contextlib.contextmanager
def sleeping(engine: Engine, *flags: str) -> Iterator[str]:
    container = engine.docker.ok("run", "-d", *flags, "busybox", "sleep", "100000")
    try:
        yield container
    finally:
        engine.docker.ok("rm", "-f", container)


@contextlib.contextmanager
def exec_true(engine: Engine) -> Iterator[Measure]:
    with sleeping(engine) as container:
        yield lambda: cli(engine, "exec", container, "true")


@contextlib.contextmanager
def start(engine: Engine) -> Iterator[Measure]:
    with sleeping(engine) as container:

        def run() -> float:
            cli(engine, "stop", "-t", "0", container)
            return cli(engine, "start", container)

        yield run


@contextlib.contextmanager
def stop(engine: Engine) -> Iterator[Measure]:
    with sleeping(engine) as container:

        def run() -> float:
            took = cli(engine, "stop", "-t", "0", container)
            cli(engine, "start", container)
            return took

        yield run


@contextlib.contextmanager
def remove(engine: Engine) -> Iterator[Measure]:
    def run() -> float:
        container = engine.docker.ok("run", "-d", "busybox", "sleep", "100000")
        return cli(engine, "rm", "-f", container)

    yield run


def start_many(engine: Engine, *flags: str) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cli(engine, "run", "-d", *flags, "busybox", "sleep", "100000"), range(MANY)))
    return (time.perf_counter() - began) * 1000


def remove_many(engine: Engine) -> float:
    return cli(engine, "rm", "-f", *engine.docker.ok("ps", "-aq").split())


@contextlib.contextmanager
def many_started(engine: Engine) -> Iterator[Measure]:
    def run() -> float:
        took = start_many(engine)
        remove_many(engine)
        return took

    yield run


@contextlib.contextmanager
def many_removed(engine: Engine) -> Iterator[Measure]:
    def run() -> float:
        start_many(engine)
        return remove_many(engine)

    yield run


def with_many(
    prepare: Callable[[Engine], AbstractContextManager[Measure]],
) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """The same while sixty containers run."""

    @contextlib.contextmanager
    def prepared(engine: Engine) -> Iterator[Measure]:
        start_many(engine)
        try:
            with prepare(engine) as measure:
                yield measure
        finally:
            remove_many(engine)

    return prepared


def latency(path: str) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """p50 of a GET on a kept connection, in microseconds."""

    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        connection = UnixConnection(engine.socket, 10)

        def run() -> float:
            took = []
            for _ in range(200):
                began = time.perf_counter()
                connection.request("GET", path)
                read(connection)
                took.append(time.perf_counter() - began)
            return statistics.median(took) * 1e6

        try:
            yield run
        finally:
            connection.close()

    return prepare


def read(connection: http.client.HTTPConnection) -> bytes:
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise RuntimeError(body.decode(errors="replace"))
    return body


@contextlib.contextmanager
def inspect(engine: Engine) -> Iterator[Measure]:
    with sleeping(engine) as container, latency(f"/containers/{container}/json")(engine) as measure:
        yield measure


def files_layer(number: int, count: int) -> bytes:
    """A layer of small files in directories of a hundred, as packages are."""
    data = random.Random(number).randbytes(6000)
    entries = [images.entry(f"files-{number}/{n // 100}", mode=0o755) for n in range(0, count, 100)]
    entries += [images.entry(f"files-{number}/{n // 100}/file-{n}", data[: 500 + n % 5000]) for n in range(count)]
    return images.layer(*entries)


def load(layers: int) -> Callable[[Engine], AbstractContextManager[Measure]]:
    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        image = images.Image(["files:1"], [files_layer(n, 10_000 // layers) for n in range(layers)])
        with tempfile.NamedTemporaryFile() as archive:
            archive.write(images.docker_archive([image]))
            archive.flush()

            def run() -> float:
                os.sync()
                took = cli(engine, "load", "-q", "-i", archive.name)
                cli(engine, "rmi", "files:1")
                return took

            yield run

    return prepare


@contextlib.contextmanager
def save(engine: Engine) -> Iterator[Measure]:
    image = images.Image(["files:1"], [files_layer(n, 1250) for n in range(8)])
    engine.docker.ok("load", stdin=images.docker_archive([image]))
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield lambda: cli(engine, "save", "-o", f"{folder}/saved.tar", "files:1")
        finally:
            engine.docker.ok("rmi", "files:1")


@contextlib.contextmanager
def ready(engine: Engine) -> Iterator[Measure]:
    def run() -> float:
        engine.stop()
        return engine.start() * 1000

    yield run


RUN = ("run", "--rm")
ALL = [
    Workload("CLI alone (docker --version)", command("--version"), runs=20),
    Workload("run --rm busybox true, bridge", command(*RUN, "busybox", "true"), runs=20, ratio_goal=6),
    Workload(
        "run --rm busybox true, none", command(*RUN, "--network", "none", "busybox", "true"), runs=20, ratio_goal=6
    ),
    Workload(
        "run --rm busybox true, host", command(*RUN, "--network", "host", "busybox", "true"), runs=20, ratio_goal=4
    ),
    Workload("run --rm busybox true, 3 ports", command(*RUN, "-p", "80", "-p", "81", "-p", "82", "busybox", "true")),
    Workload("exec C true", exec_true, runs=20, ratio_goal=3),
    Workload("start", start, ratio_goal=4),
    Workload("stop -t 0", stop, ratio_goal=4),
    Workload("rm -f", remove, ratio_goal=4),
    Workload(f"{MANY} containers, 8 at a time", many_started, runs=3, ratio_goal=5),
    Workload(f"rm -f of {MANY} containers", many_removed, runs=3, ratio_goal=4),
    Workload(f"run --rm busybox true, {MANY} running", with_many(command(*RUN, "busybox", "true")), ratio_goal=6),
    Workload("load, 10k files in one layer", load(1), runs=5, ratio_goal=1.5),
    Workload("load, 10k files in 8 layers", load(8), runs=5, ratio_goal=1.5),
    Workload("save, 10k files in 8 layers", save, runs=5, ratio_goal=1),
    *registries.workloads(files_layer),
    Workload("GET /_ping, p50", latency("/_ping"), "µs", runs=5, limit=300),
    Workload("GET /containers/{id}/json, p50", inspect, "µs", runs=5, limit=600),
    Workload("GET /images/json, p50", latency("/images/json"), "µs", runs=5, limit=600),
    Workload(
        f"GET /containers/json?all=1, {MANY} running, p50",
        with_many(latency("/containers/json?all=1")),
        "µs",
        runs=5,
        ratio_goal=1.5,
    ),
    Workload("docker ps", command("ps"), ratio_goal=1),
    Workload(f"docker ps, {MANY} running", with_many(command("ps")), ratio_goal=1),
    Workload("daemon ready, no containers", ready, runs=5, limit=500),
    Workload(f"daemon ready, {MANY} running", with_many(ready), runs=5, limit=1000),
]
