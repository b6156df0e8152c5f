"""Throughput: attached output and input, logs, published ports."""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from harness.engine import HOST_ADDRESS, Engine
from measure import Measure, Workload, cli

MEGABYTES = 300
LINE = "0123456789abcdef" * 4
LINE_WRITER = ("sh", "-c", f"yes {LINE} | head -c {MEGABYTES}m")
BLOCK_WRITER = ("dd", "if=/dev/zero", "bs=1M", f"count={MEGABYTES}")
"""Writes faster than any engine carries it; a log would be of one endless line."""
LINES = 500_000

SERVER = """
import select, socket
listener = socket.create_server(("", 80), backlog=100)
epoll, clients = select.epoll(), {}
epoll.register(listener, select.EPOLLIN)
block = bytes(1 << 20)
while True:
    for fd, _ in epoll.poll():
        if fd == listener.fileno():
            client = listener.accept()[0]
            clients[client.fileno()] = client
            epoll.register(client, select.EPOLLIN)
            continue
        client = clients[fd]
        data = client.recv(65536)
        if data == b"bulk":
            for _ in range(300): client.sendall(block)
        elif data:
            client.sendall(data)
            continue
        epoll.unregister(client)
        clients.pop(fd).close()
"""
"""No thread a connection: that would take longer than what is measured."""


def output(writer: tuple[str, ...], *flags: str) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """MB/s from a container's standard output through `docker run` into a pipe."""

    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        yield lambda: MEGABYTES * 1.048576 / (cli(engine, "run", "--rm", *flags, "busybox", *writer) / 1000)

    return prepare


@contextlib.contextmanager
def standard_input(engine: Engine) -> Iterator[Measure]:
    def run() -> float:
        with subprocess.Popen(["head", "-c", f"{MEGABYTES}M", "/dev/zero"], stdout=subprocess.PIPE) as source:
            assert source.stdout is not None
            took = cli(
                engine, "run", "-i", "--rm", "busybox", "sh", "-c", "cat >/dev/null", stdin=source.stdout.fileno()
            )
        return MEGABYTES * 1.048576 / (took / 1000)

    yield run


@contextlib.contextmanager
def log_lines_in(engine: Engine) -> Iterator[Measure]:
    def run() -> float:
        began = time.perf_counter()
        container = engine.docker.ok("run", "-d", "busybox", "seq", str(LINES))
        engine.docker.ok("wait", container)
        took = time.perf_counter() - began
        engine.docker.ok("rm", container)
        return LINES / took / 1000

    yield run


@contextlib.contextmanager
def log_lines_out(engine: Engine) -> Iterator[Measure]:
    container = engine.docker.ok("run", "-d", "busybox", "seq", str(LINES))
    engine.docker.ok("wait", container)
    try:
        yield lambda: LINES / cli(engine, "logs", container)
    finally:
        engine.docker.ok("rm", container)


@contextlib.contextmanager
def server(engine: Engine, address: str) -> Iterator[tuple[str, int]]:
    """An echo server behind a published port."""
    container = engine.docker.ok(
        "run", "-d", "-p", "80", "-v", "/usr:/usr:ro", "busybox", "/usr/bin/python3", "-c", SERVER
    )
    try:
        port = int(engine.docker.ok("port", container, "80").splitlines()[0].rsplit(":", 1)[1])
        deadline = time.monotonic() + 10
        while True:
            with (
                contextlib.suppress(OSError),
                engine.netns.entered(),
                socket.create_connection((address, port), 1) as probe,
            ):
                probe.sendall(b"x")
                if probe.recv(1):
                    break
            if time.monotonic() > deadline:
                raise RuntimeError("the published port does not answer")
        yield address, port
    finally:
        engine.docker.ok("rm", "-f", container)


def new_connection(address: str) -> Callable[[Engine], AbstractContextManager[Measure]]:
    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        with server(engine, address) as target:

            def once() -> float:
                began = time.perf_counter()
                with socket.create_connection(target) as connection:
                    connection.sendall(b"x")
                    connection.recv(1)
                return time.perf_counter() - began

            yield lambda: inside(engine, once)

    return prepare


def kept_connection(address: str) -> Callable[[Engine], AbstractContextManager[Measure]]:
    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        with server(engine, address) as target, contextlib.ExitStack() as stack:
            with engine.netns.entered():
                connection = stack.enter_context(socket.create_connection(target))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def once() -> float:
                began = time.perf_counter()
                connection.sendall(b"x")
                connection.recv(1)
                return time.perf_counter() - began

            yield lambda: inside(engine, once)

    return prepare


def inside(engine: Engine, once: Callable[[], float]) -> float:
    """The median of many in the engine's network namespace, in microseconds."""
    with engine.netns.entered():
        return statistics.median(once() for _ in range(300)) * 1e6


def bulk(address: str) -> Callable[[Engine], AbstractContextManager[Measure]]:
    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        with server(engine, address) as target:

            def run() -> float:
                buffer, total = bytearray(1 << 20), 0
                with engine.netns.entered(), socket.create_connection(target) as connection:
                    connection.sendall(b"bulk")
                    began = time.perf_counter()
                    while count := connection.recv_into(buffer):
                        total += count
                return total / 1e6 / (time.perf_counter() - began)

            yield run

    return prepare


LOCAL = "127.0.0.1"
ALL = [
    Workload(
        f"attached output, {MEGABYTES} MB, logged",
        output(LINE_WRITER),
        "MB/s",
        runs=3,
        ratio_goal=2,
        less_is_better=False,
    ),
    Workload(
        f"attached output, {MEGABYTES} MB, not logged",
        output(BLOCK_WRITER, "--log-driver", "none"),
        "MB/s",
        runs=3,
        ratio_goal=8,
        less_is_better=False,
    ),
    Workload(f"standard input, {MEGABYTES} MB", standard_input, "MB/s", runs=3, ratio_goal=3, less_is_better=False),
    Workload("log lines in", log_lines_in, "k/s", runs=3, ratio_goal=1, less_is_better=False),
    Workload("log lines out (docker logs)", log_lines_out, "k/s", runs=3, ratio_goal=3, less_is_better=False),
    Workload("published port by localhost, new connection", new_connection(LOCAL), "µs", runs=3, ratio_goal=3),
    Workload("published port by localhost, kept connection", kept_connection(LOCAL), "µs", runs=3, ratio_goal=3),
    Workload("published port by localhost, bulk", bulk(LOCAL), "MB/s", runs=3, ratio_goal=1.5, less_is_better=False),
    Workload("published port by address, new connection", new_connection(HOST_ADDRESS), "µs", runs=3, ratio_goal=1),
    Workload("published port by address, bulk", bulk(HOST_ADDRESS), "MB/s", runs=3, ratio_goal=1, less_is_better=False),
]
