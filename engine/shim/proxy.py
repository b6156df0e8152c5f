"""Carrying what comes to a container's published ports and the firewall's rules do not translate.

That is IPv6 to a container without it, what comes by the host's own ::1, and everything where the daemon makes no
rules. dockerd has a process a port for it; here the shim serves the sockets that reserve the ports, one loop for all.
"""

from __future__ import annotations

import socket
import time

from .loop import HUNG_UP, READABLE, WRITABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .loop import Loop

Target = tuple[str, int]

PIECE_BYTES = 128 * 1024
_BATCH = 16
_RETRY_S = 0.2
_DATAGRAM_BYTES = 65535
_IDLE_S = 90.0
_SWEEP_S = 15.0
# linux/in.h, linux/in6.h
_IP_PKTINFO, _IPV6_RECVPKTINFO = 8, 49


class Proxy:
    """The ports of one container that it serves, by the names of their sockets."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._ports: dict[str, Listener | Datagrams] = {}

    def serve(self, fds: Mapping[str, int], targets: Mapping[str, Any]) -> None:
        """Carry what comes to these sockets to the targets; what has none any more is refused."""
        for name in {*targets, *self._ports}:
            port = self._ports.get(name)
            if port is None and name in fds:
                kind = Datagrams if name.startswith("udp") else Listener
                port = self._ports[name] = kind(self._loop, fds[name])
            if port is not None:
                address = targets.get(name)
                port.target = (address[0], address[1]) if address else None

    def close(self) -> None:
        """Stop taking connections, and end those that are there: the container has."""
        for port in self._ports.values():
            port.close()
        self._ports.clear()


class Listener:
    """A port of TCP, or of SCTP in TCP's manner."""

    def __init__(self, loop: Loop, fd: int) -> None:
        self._loop = loop
        self.target: Target | None = None
        self._socket = socket.socket(fileno=socket.dup(fd))
        self._connections: set[Connection] = set()
        self._socket.setblocking(False)
        loop.watch(self._socket.fileno(), READABLE, self._accept)

    def close(self) -> None:
        for connection in list(self._connections):
            connection.close()
        self._loop.forget(self._socket.fileno())
        self._socket.close()

    def _accept(self, _events: int) -> None:
        for _ in range(_BATCH):
            try:
                client, _ = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError:  # no descriptors are left: some connections have to end first
                self._loop.forget(self._socket.fileno())
                self._loop.call_later(_RETRY_S, self._watch_again)
                return
            if self.target is None:
                client.close()
                continue
            # Without it, the port could not be bound again while this connection waits in TIME-WAIT.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                connection = Connection(self._loop, client, self.target, self._connections.discard)
            except OSError:
                client.close()
                continue
            self._connections.add(connection)
            connection.open(self.target)

    def _watch_again(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.watch(self._socket.fileno(), READABLE, self._accept)


class Connection:
    """A client's connection and the one to the container; each direction ends on its own, as in TCP."""

    __slots__ = ("_loop", "_on_end", "_sides")

    def __init__(self, loop: Loop, client: socket.socket, target: Target, on_end: Callable[[Connection], None]) -> None:
        self._loop, self._on_end = loop, on_end
        server = socket.socket(_family(target), client.type, client.proto)
        self._sides = (Side(client), Side(server))

    def open(self, target: Target) -> None:
        _, server = self._sides
        for side in self._sides:
            _set_options(side.socket)
        try:
            server.socket.connect(target)
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._loop.watch(server.socket.fileno(), WRITABLE, self._connected)

    def close(self) -> None:
        for side in self._sides:
            if side.socket.fileno() >= 0:
                self._loop.forget(side.socket.fileno())
                side.socket.close()
        self._on_end(self)

    def _connected(self, _events: int) -> None:
        client, server = self._sides
        if server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.close()
            return
        self._loop.forget(server.socket.fileno())
        self._watch(client, server)
        self._watch(server, client)

    def _ready(self, side: Side, other: Side, events: int) -> None:
        try:
            if side.pending and events & (WRITABLE | HUNG_UP):
                side.flush()
            if not (side.has_ended or other.pending) and events & (READABLE | HUNG_UP):
                self._read(side, other)
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if all(one.has_ended and not one.pending for one in self._sides):
            self.close()
            return
        self._watch(side, other)
        self._watch(other, side)

    @staticmethod
    def _read(side: Side, other: Side) -> None:
        data = side.socket.recv(PIECE_BYTES)
        if data:
            other.pending = memoryview(data)
        else:
            side.has_ended = other.is_last = True
        other.flush()

    def _watch(self, side: Side, other: Side) -> None:
        """Look at what can go on only: an end that has been read would be reported again and again."""
        wanted = (0 if side.has_ended or other.pending else READABLE) | (WRITABLE if side.pending else 0)
        if wanted == side.watched:
            return
        side.watched = wanted
        if wanted:
            self._loop.watch(side.socket.fileno(), wanted, lambda events: self._ready(side, other, events))
        else:
            self._loop.forget(side.socket.fileno())


class Side:
    """One of the two; `pending` is what it has to be sent yet, `is_last` that nothing comes after."""

    __slots__ = ("has_ended", "is_last", "pending", "socket", "watched")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.pending = memoryview(b"")
        self.has_ended = self.is_last = False
        self.watched = 0

    def flush(self) -> None:
        while self.pending:
            try:
                self.pending = self.pending[self.socket.send(self.pending) :]
            except BlockingIOError:
                return
        if self.is_last:
            self.is_last = False
            self.socket.shutdown(socket.SHUT_WR)


class Datagrams:
    """A port of UDP; answers go out from the address that was asked."""

    def __init__(self, loop: Loop, fd: int) -> None:
        self._loop = loop
        self.target: Target | None = None
        self._socket = socket.socket(fileno=socket.dup(fd))
        self._flows: dict[Any, Flow] = {}
        self._is_ipv6 = self._socket.family == socket.AF_INET6
        if self._is_ipv6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self._socket.setblocking(False)
        loop.watch(self._socket.fileno(), READABLE, self._receive)

    def close(self) -> None:
        for client in list(self._flows):
            self._end(client)
        self._loop.forget(self._socket.fileno())
        self._socket.close()

    def _receive(self, _events: int) -> None:
        for _ in range(_BATCH):
            try:
                data, asked, _, client = self._socket.recvmsg(_DATAGRAM_BYTES, 128)
            except BlockingIOError:
                return
            except OSError:
                continue  # an earlier answer met a closed port
            try:
                flow = self._flow(client)
                if flow is not None:
                    flow.asked, flow.used_s = asked, time.monotonic()
                    flow.socket.send(data)
            except OSError:
                self._end(client)  # nobody listens in the container, or no descriptors are left

    def _flow(self, client: Any) -> Flow | None:
        flow = self._flows.get(client)
        if flow is not None and flow.target != self.target:
            self._end(client)
            flow = None
        if flow is None and self.target is not None:
            flow = Flow(self.target)
            if not self._flows:
                self._loop.call_later(_SWEEP_S, self._sweep)
            self._flows[client] = flow
            self._loop.watch(flow.socket.fileno(), READABLE, lambda _: self._answer(client, flow))
        return flow

    def _answer(self, client: Any, flow: Flow) -> None:
        for _ in range(_BATCH):
            try:
                data = flow.socket.recv(_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self._end(client)
                return
            flow.used_s = time.monotonic()
            try:
                self._socket.sendmsg([data], flow.asked, 0, client)
            except OSError:
                pass  # its buffer is full, or there is no way to it now

    def _sweep(self) -> None:
        limit_s = time.monotonic() - _IDLE_S
        for client in [client for client, flow in self._flows.items() if flow.used_s < limit_s]:
            self._end(client)
        if self._flows:
            self._loop.call_later(_SWEEP_S, self._sweep)

    def _end(self, client: Any) -> None:
        flow = self._flows.pop(client, None)
        if flow is not None:
            self._loop.forget(flow.socket.fileno())
            flow.socket.close()


class Flow:
    """What one client sends, and the answers that it gets."""

    __slots__ = ("asked", "socket", "target", "used_s")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.asked: Any = []
        self.used_s = 0.0
        self.socket = socket.socket(_family(target), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self.socket.connect(target)
        except OSError:
            self.socket.close()
            raise


def _family(target: Target) -> int:
    return socket.AF_INET6 if ":" in target[0] else socket.AF_INET


def _set_options(connection: socket.socket) -> None:
    """Send at once, and notice a peer that went away without a word, as dockerd's proxy does."""
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if connection.proto in (0, socket.IPPROTO_TCP):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
