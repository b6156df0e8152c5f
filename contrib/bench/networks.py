"""Networks: made and removed, started on, between containers, through many published ports, and names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from harness.engine import Engine
from measure import Measure, Workload, cli
from streams import SERVER

NETWORK = "bench"
PYTHON = ("-v", "/usr:/usr:ro", "busybox", "/usr/bin/python3", "-c")
CONTAINERS, PORTS = 200, 500
IN_FLIGHT, QUERIES = 64, 20_000

CLIENT = """
import socket, statistics, sys, time
kind, address = sys.argv[1:]
def connect():
    while True:
        try: return socket.create_connection((address, 80))
        except OSError: time.sleep(0.05)
connect().close()
address = socket.gethostbyname(address)
def new():
    with connect() as c: c.sendall(b"x"); c.recv(1)
if kind == "bulk":
    buffer, total = bytearray(1 << 20), 0
    c = connect(); c.sendall(b"bulk"); began = time.perf_counter()
    while count := c.recv_into(buffer): total += count
    print(total / 1e6 / (time.perf_counter() - began))
else:
    took = []
    for _ in range(300):
        began = time.perf_counter(); new(); took.append(time.perf_counter() - began)
    print(statistics.median(took) * 1e6)
"""
RESOLVE = f"""
import socket, statistics, struct, sys, time
name = sys.argv[2]
question = struct.pack("!HHHHH", 0x100, 1, 0, 0, 0)
question += b"".join(bytes((len(p),)) + p.encode() for p in name.split(".")) + b"\\0\\0\\1\\0\\1"
s = socket.socket(type=socket.SOCK_DGRAM); s.connect(("127.0.0.11", 53)); s.settimeout(5)
def ask(n): s.send(struct.pack("!H", n & 0xffff) + question)
ask(0); assert s.recv(512)[7] == 1
if sys.argv[1] == "latency":
    took = []
    for n in range(3000):
        began = time.perf_counter(); ask(n); s.recv(512); took.append(time.perf_counter() - began)
    print(statistics.median(took) * 1e6)
else:
    began = time.perf_counter()
    for n in range({IN_FLIGHT}): ask(n)
    for n in range({QUERIES}): s.recv(512); ask(n)
    print({QUERIES} / (time.perf_counter() - began))
"""
LOOKUP = """
import socket, statistics, time
took = []
for _ in range(1000):
    began = time.perf_counter(); socket.getaddrinfo("peer", 80); took.append(time.perf_counter() - began)
print(statistics.median(took) * 1e6)
"""


@contextlib.contextmanager
def network(engine: Engine) -> Iterator[str]:
    engine.docker.ok("network", "create", NETWORK)
    try:
        yield NETWORK
    finally:
        engine.docker("rm", "-f", *engine.docker.ok("ps", "-aq", "--filter", f"network={NETWORK}").split())
        engine.docker.ok("network", "rm", NETWORK)


@contextlib.contextmanager
def made_and_removed(engine: Engine) -> Iterator[Measure]:
    yield lambda: cli(engine, "network", "create", NETWORK) + cli(engine, "network", "rm", NETWORK)


@contextlib.contextmanager
def run_on_network(engine: Engine) -> Iterator[Measure]:
    with network(engine):
        yield lambda: cli(engine, "run", "--rm", "--network", NETWORK, "busybox", "true")


def growth(*crowd: tuple[str, ...]) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """How much longer a start with a published port takes beside what `crowd` has started; 1 is no longer at all."""

    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        def run() -> float:
            return min(cli(engine, "run", "--rm", "-p", "80", "busybox", "true") for _ in range(5))

        alone = run()
        try:
            for flags in crowd:
                engine.docker.ok("run", "-d", *flags, "busybox", "sleep", "100000")
            yield lambda: run() / alone
        finally:
            engine.docker.ok("rm", "-f", *engine.docker.ok("ps", "-aq").split(), timeout_s=120)

    return prepare


def between(kind: str) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """A connection between two containers on one network."""

    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        with network(engine):
            engine.docker.ok("run", "-d", "--name", "peer", "--network", NETWORK, *PYTHON, SERVER)
            flags = ("run", "--rm", "--network", NETWORK, *PYTHON, CLIENT, kind, "peer")
            yield lambda: float(engine.docker.ok(*flags))

    return prepare


def names(kind: str) -> Callable[[Engine], AbstractContextManager[Measure]]:
    """Questions for a neighbour's name, one after another or many in flight."""

    @contextlib.contextmanager
    def prepare(engine: Engine) -> Iterator[Measure]:
        with network(engine):
            engine.docker.ok("run", "-d", "--name", "peer", "--network", NETWORK, "busybox", "sleep", "100000")
            script = LOOKUP if kind == "lookup" else RESOLVE
            flags = ("run", "--rm", "--network", NETWORK, *PYTHON, script, kind, "peer")
            yield lambda: float(engine.docker.ok(*flags))

    return prepare


ALL = [
    Workload("network create + rm", made_and_removed, ratio_goal=2),
    Workload("run --rm busybox true, user network", run_on_network, runs=20, ratio_goal=6),
    Workload("container to container, new connection", between("new"), "µs", runs=5, ratio_goal=0.95),
    Workload("container to container, bulk", between("bulk"), "MB/s", runs=5, ratio_goal=0.95, less_is_better=False),
    Workload("DNS, p50", names("latency"), "µs", runs=3, limit=150),
    Workload("DNS by the C library, both families", names("lookup"), "µs", runs=3, ratio_goal=0.95),
    Workload("DNS, answers", names("rate"), "/s", runs=3, limit=15_000, less_is_better=False),
    Workload(
        f"growth of a start beside {CONTAINERS} containers", growth(*[()] * CONTAINERS), "x", runs=3, limit=1.3,
        only_ours=True,
    ),
    Workload(
        f"growth of a start beside {PORTS} ports", growth(("-p", f"20000-{20000 + PORTS - 1}:1-{PORTS}")), "x", runs=3,
        limit=1.3, only_ours=True,
    ),
]  # fmt: skip
