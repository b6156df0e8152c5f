"""The answering of one container's queries, over UDP and TCP, on the sockets that were opened in its namespace."""

from __future__ import annotations

import functools
import os
import socket
import struct

from ...shim.loop import READABLE, WRITABLE, Loop
from . import wire
from .forward import Forwarder
from .names import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_BATCH = 32
_REMEMBERED = 512
_IDLE_S = 10.0
_MAX_CLIENTS = 64
_NAME_TYPES = (wire.A, wire.AAAA, wire.MX)


class Service:
    """One container. `view` gives what it knows of names; `refresh` reads the records where they have changed: before
    each answer, for who asks after a change must see it, and the loop may tell of the question first.
    """

    def __init__(
        self,
        loop: Loop,
        forwarder: Forwarder,
        *,
        udp_fd: int,
        tcp_fd: int,
        netns_fd: int,
        view: Callable[[], Container | None],
        refresh: Callable[[], None],
    ) -> None:
        self._loop, self._forwarder, self._view, self._refresh = loop, forwarder, view, refresh
        self._udp, self._tcp = socket.socket(fileno=udp_fd), socket.socket(fileno=tcp_fd)
        self._netns_fd = netns_fd
        self._answers: dict[bytes, list[bytes]] = {}
        """What was answered to a query, but for its id, in each order of the addresses; until the records change."""
        self._turn = 0
        self._clients: dict[int, _Client] = {}
        for listener in (self._udp, self._tcp):
            listener.setblocking(False)
        loop.watch(self._udp.fileno(), READABLE, self._datagrams)
        loop.watch(self._tcp.fileno(), READABLE, self._connections)

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._hang_up(client)
        for listener in (self._udp, self._tcp):
            self._loop.forget(listener.fileno())
            listener.close()
        self._forwarder.forget(self._netns_fd)
        os.close(self._netns_fd)

    def records_changed(self) -> None:
        self._answers.clear()

    def _datagrams(self, _events: int) -> None:
        receive = self._udp.recvfrom
        for _ in range(_BATCH):
            try:
                data, client = receive(wire.MAX_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # an earlier answer met a closed port
            self._refresh()
            known = self._answers.get(data[2:])
            if known is not None:
                self._turn += 1
                answer: bytes | None = data[:2] + known[self._turn % len(known)]
            else:
                answer = self._answer(data, over_tcp=False, reply=functools.partial(self._send, client))
            if answer is not None:
                self._send(client, answer)

    def _send(self, client: tuple[str, int], answer: bytes) -> None:
        try:
            self._udp.sendto(answer, client)
        except OSError:
            pass  # the container has gone, does not wait, or its buffer is full: then it asks again

    def _answer(self, data: bytes, *, over_tcp: bool, reply: Callable[[bytes], None]) -> bytes | None:
        """Return the answer where it is known here; else `reply` gets one later."""
        try:
            query = wire.Query(data)
        except ValueError:
            return wire.format_error(data)
        limit = wire.MAX_BYTES if over_tcp else query.limit
        orders = self._known(query, limit)
        if orders is None:
            return self._elsewhere(query, data, over_tcp=over_tcp, limit=limit, reply=reply)
        if not over_tcp:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            self._answers[data[2:]] = [order[2:] for order in orders]
        return orders[0]

    def _known(self, query: wire.Query, limit: int) -> list[bytes] | None:
        """Return the answers of the containers' own names, one for each order of the addresses."""
        view = self._view()
        if view is None:
            return None
        if query.type == wire.PTR:
            name = view.name_of(query.name)
            return [wire.pointer(query, name, limit=limit)] if name is not None else None
        if query.type not in _NAME_TYPES:
            return None
        found = view.addresses(query.name)
        if found is None:
            return None
        packed = found[query.type == wire.AAAA] if query.type != wire.MX else []
        if not packed:
            return [wire.empty(query)]
        return [wire.addresses(query, packed[first:] + packed[:first], limit=limit) for first in range(len(packed))]

    def _elsewhere(
        self, query: wire.Query, data: bytes, *, over_tcp: bool, limit: int, reply: Callable[[bytes], None]
    ) -> bytes | None:
        view = self._view()
        if view is None:
            return wire.empty(query, wire.SERVFAIL)
        if view.ndots and query.type in (wire.A, wire.AAAA) and "." not in query.name:
            return wire.empty(query)  # the client tries again with a search domain
        self._forwarder.ask(
            data,
            view.servers,
            self._netns_fd,
            over_tcp=over_tcp,
            reply=lambda answer: reply(wire.shortened(answer, limit)),
        )
        return None

    def _connections(self, _events: int) -> None:
        try:
            connection, _ = self._tcp.accept()
        except OSError:
            return
        if len(self._clients) >= _MAX_CLIENTS:
            connection.close()
            return
        connection.setblocking(False)
        client = _Client(connection)
        self._clients[connection.fileno()] = client
        self._loop.watch(connection.fileno(), READABLE, lambda events: self._serve(client, events))
        self._loop.call_later(_IDLE_S, lambda: self._hang_up(client))

    def _serve(self, client: _Client, events: int) -> None:
        try:
            if events & WRITABLE:
                self._flush(client)
            received = client.connection.recv(wire.MAX_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._hang_up(client)
            return
        client.received += received
        while len(client.received) >= 2:
            size = int.from_bytes(client.received[:2], "big")
            if len(client.received) < 2 + size:
                return
            data, client.received = client.received[2 : 2 + size], client.received[2 + size :]
            self._refresh()
            answer = self._answer(data, over_tcp=True, reply=functools.partial(self._write, client))
            if answer is not None:
                self._write(client, answer)

    def _write(self, client: _Client, answer: bytes) -> None:
        if client.connection.fileno() < 0:
            return
        client.unsent += struct.pack("!H", len(answer)) + answer
        try:
            self._flush(client)
        except OSError:
            self._hang_up(client)

    def _flush(self, client: _Client) -> None:
        try:
            sent = client.connection.send(client.unsent) if client.unsent else 0
        except BlockingIOError:
            sent = 0
        client.unsent = client.unsent[sent:]
        events = READABLE | WRITABLE if client.unsent else READABLE
        self._loop.watch(client.connection.fileno(), events, lambda events: self._serve(client, events))

    def _hang_up(self, client: _Client) -> None:
        fd = client.connection.fileno()
        if fd >= 0:
            self._clients.pop(fd, None)
            self._loop.forget(fd)
            client.connection.close()


class _Client:
    """A connection over TCP."""

    __slots__ = ("connection", "received", "unsent")

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.received, self.unsent = connection, b"", b""
