"""Questions that are not about containers: asked of the container's nameservers, one after another.

Each attempt has a socket of its own, so that its port is the kernel's random choice, connected, so that only the
server is heard, with an id of its own. The nameservers of the host are asked from the host's network namespace, those
that a user chose for the container from the container's.
"""

from __future__ import annotations

import os
import socket
import struct
import time

from ...runtime import linux
from ...runtime.constants import CLONE_NEWNET
from ...shim.loop import READABLE, WRITABLE, Loop
from . import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

IN_FLIGHT = 4096
ATTEMPT_S = 4.0
_SWEEP_S = 0.25
_PORT = 53


class Attempt:
    """One question on its way to one server."""

    __slots__ = (
        "asked",
        "connection",
        "data",
        "deadline",
        "netns_fd",
        "original_id",
        "over_tcp",
        "received",
        "reply",
        "servers",
    )

    def __init__(
        self,
        data: bytes,
        servers: list[tuple[str, bool]],
        netns_fd: int,
        *,
        over_tcp: bool,
        reply: Callable[[bytes], None],
    ) -> None:
        self.original_id, self.data = data[:2], os.urandom(2) + data[2:]
        self.servers, self.netns_fd, self.over_tcp, self.reply = servers, netns_fd, over_tcp, reply
        self.connection: socket.socket | None = None
        self.deadline = 0.0
        self.received = b""
        self.asked = False
        """Over TCP: whether the connection stood, and the question is out."""


class Forwarder:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._home_fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._attempts: set[Attempt] = set()
        self._sweeping = False

    def ask(
        self,
        data: bytes,
        servers: Sequence[tuple[str, bool]],
        netns_fd: int,
        *,
        over_tcp: bool,
        reply: Callable[[bytes], None],
    ) -> None:
        """Ask; `reply` gets the answer, or SERVFAIL where no server gives one."""
        if len(self._attempts) >= IN_FLIGHT:
            reply(wire.empty(wire.Query(data), wire.REFUSED))
            return
        attempt = Attempt(data, list(servers), netns_fd, over_tcp=over_tcp, reply=reply)
        self._attempts.add(attempt)
        self._next(attempt)
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(_SWEEP_S, self._sweep)

    def forget(self, netns_fd: int) -> None:
        """Give up what is asked for a container that has gone."""
        for attempt in [attempt for attempt in self._attempts if attempt.netns_fd == netns_fd]:
            self._drop(attempt)
            self._attempts.discard(attempt)

    def _next(self, attempt: Attempt) -> None:
        """Go on with the next server."""
        self._drop(attempt)
        while attempt.servers:
            address, is_host = attempt.servers.pop(0)
            try:
                attempt.connection = self._connect(address, -1 if is_host else attempt.netns_fd, attempt.over_tcp)
                if not attempt.over_tcp:
                    attempt.connection.send(attempt.data)
            except OSError:
                self._drop(attempt)
                continue
            attempt.deadline = time.monotonic() + ATTEMPT_S
            events = WRITABLE if attempt.over_tcp else READABLE
            self._loop.watch(attempt.connection.fileno(), events, lambda _: self._ready(attempt))
            return
        query = wire.Query(attempt.original_id + attempt.data[2:])
        self._finish(attempt, wire.empty(query, wire.SERVFAIL))

    def _connect(self, address: str, netns_fd: int, over_tcp: bool) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        kind = socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM
        if netns_fd >= 0:
            linux.setns(netns_fd, CLONE_NEWNET)
        try:
            connection = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        finally:
            if netns_fd >= 0:
                linux.setns(self._home_fd, CLONE_NEWNET)
        try:
            connection.connect((address, _PORT))
        except BlockingIOError:
            pass
        except BaseException:
            connection.close()
            raise
        return connection

    def _ready(self, attempt: Attempt) -> None:
        try:
            answer = self._receive(attempt)
        except BlockingIOError:
            return
        except OSError:
            self._next(attempt)
            return
        if answer is None:
            return
        if not wire.answers_to(answer, attempt.data):
            if attempt.over_tcp:
                self._next(attempt)
            return
        if wire.code_of(answer) in (wire.SERVFAIL, wire.REFUSED) and attempt.servers:
            self._next(attempt)
            return
        self._finish(attempt, attempt.original_id + answer[2:])

    def _receive(self, attempt: Attempt) -> bytes | None:
        """Return the answer once it is whole; over TCP the question goes out first."""
        connection = attempt.connection
        assert connection is not None
        if not attempt.over_tcp:
            return connection.recv(wire.MAX_BYTES)
        if not attempt.asked:
            connection.sendall(struct.pack("!H", len(attempt.data)) + attempt.data)
            attempt.asked = True
            self._loop.watch(connection.fileno(), READABLE, lambda _: self._ready(attempt))
            return None
        received = connection.recv(wire.MAX_BYTES + 2)
        if not received:
            raise OSError("the nameserver hung up")
        attempt.received += received
        size = int.from_bytes(attempt.received[:2], "big")
        if len(attempt.received) < 2 + size or len(attempt.received) < 2:
            return None
        return attempt.received[2 : 2 + size]

    def _finish(self, attempt: Attempt, answer: bytes) -> None:
        self._drop(attempt)
        self._attempts.discard(attempt)
        attempt.reply(answer)

    def _drop(self, attempt: Attempt) -> None:
        if attempt.connection is not None:
            self._loop.forget(attempt.connection.fileno())
            attempt.connection.close()
            attempt.connection = None
        attempt.received, attempt.asked = b"", False

    def _sweep(self) -> None:
        now = time.monotonic()
        for attempt in [attempt for attempt in self._attempts if attempt.deadline <= now]:
            self._next(attempt)
        self._sweeping = bool(self._attempts)
        if self._sweeping:
            self._loop.call_later(_SWEEP_S, self._sweep)
