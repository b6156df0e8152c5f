"""The shim's proxy: both directions to their ends, half-closed connections, datagrams, targets that change."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from lightship.engine.shim.loop import Loop
from lightship.engine.shim.proxy import Proxy


class Served:
    """A proxy whose loop runs in a thread; `do` runs something there."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.loop = Loop(on_error=self.errors.append)
        self.proxy = Proxy(self.loop)
        self._wake, self._theirs = socket.socketpair()
        self._calls: list[Callable[[], None]] = []
        self._done = threading.Event()

        def called(_events: int) -> None:
            self._theirs.recv(1)
            self._calls.pop(0)()
            self._done.set()

        self.loop.watch(self._theirs.fileno(), 1, called)
        self._thread = threading.Thread(target=self.loop.run)
        self._thread.start()

    def do(self, call: Callable[[], None]) -> None:
        self._done.clear()
        self._calls.append(call)
        self._wake.send(b"!")
        assert self._done.wait(5)

    def serve(self, fds: dict[str, int], targets: dict[str, tuple[str, int]]) -> None:
        self.do(lambda: self.proxy.serve(fds, targets))

    def close(self) -> None:
        def stop() -> None:
            self.proxy.close()
            self.loop.stopped = True

        self.do(stop)
        self._thread.join(60)
        self.loop.close()
        self._wake.close()
        self._theirs.close()
        assert self.errors == []


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.close()


@pytest.fixture
def published() -> Iterator[socket.socket]:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        yield listener


@pytest.fixture
def container() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        yield listener


def connected(published: socket.socket) -> socket.socket:
    return socket.create_connection(published.getsockname()[:2], timeout=60)


def read_all(connection: socket.socket) -> bytes:
    found = b""
    while data := connection.recv(1 << 20):
        found += data
    return found


def test_both_directions_end_on_their_own(served: Served, published: socket.socket, container: socket.socket) -> None:
    served.serve({"tcp": published.fileno()}, {"tcp": container.getsockname()})
    with connected(published) as client, container.accept()[0] as server:
        server.settimeout(60)
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(server) == b"question"
        server.sendall(b"answer")
        server.close()
        assert read_all(client) == b"answer"


def test_a_slow_reader_gets_everything(served: Served, published: socket.socket, container: socket.socket) -> None:
    served.serve({"tcp": published.fileno()}, {"tcp": container.getsockname()})
    data = bytes(range(256)) * 65536
    with connected(published) as client, container.accept()[0] as server:
        server.settimeout(60)
        sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
        sender.start()
        sender.join(0.2)
        assert sender.is_alive(), "nobody reads, so not everything can have been taken"
        assert read_all(server) == data
        sender.join(60)


def test_a_container_that_refuses(served: Served, published: socket.socket, container: socket.socket) -> None:
    target = container.getsockname()
    container.close()
    served.serve({"tcp": published.fileno()}, {"tcp": target})
    for _ in range(3):
        with connected(published) as client:
            assert client.recv(1) == b""


def test_targets_change(served: Served, published: socket.socket, container: socket.socket) -> None:
    fds = {"tcp": published.fileno()}
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(60)
        served.serve(fds, {"tcp": container.getsockname()})
        served.serve(fds, {"tcp": other.getsockname()})
        with connected(published), other.accept()[0]:
            pass
        served.serve(fds, {})
        with connected(published) as client:
            assert client.recv(1) == b""


def test_its_end_ends_connections(served: Served, published: socket.socket, container: socket.socket) -> None:
    served.serve({"tcp": published.fileno()}, {"tcp": container.getsockname()})
    with connected(published) as client, container.accept()[0] as server:
        server.settimeout(60)
        served.do(served.proxy.close)
        assert (client.recv(1), server.recv(1)) == (b"", b"")


@pytest.mark.parametrize("address", ["::1", "127.0.0.1"])
def test_datagrams_are_answered_from_where_they_were_sent_to(served: Served, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_DGRAM) as published,
        socket.socket(type=socket.SOCK_DGRAM) as container,
        socket.socket(family, socket.SOCK_DGRAM) as client,
        socket.socket(family, socket.SOCK_DGRAM) as other,
    ):
        published.bind(("::" if ":" in address else "0.0.0.0", 0))
        container.bind(("127.0.0.1", 0))
        container.settimeout(60)
        served.serve({"udp": published.fileno()}, {"udp": container.getsockname()})
        for asker, question in ((client, b"one"), (other, b"two")):
            asker.settimeout(60)
            asker.connect((address, published.getsockname()[1]))
            asker.send(question)
            data, source = container.recvfrom(100)
            container.sendto(data + b"!", source)
            assert asker.recv(100) == question + b"!"
