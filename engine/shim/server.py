"""The shim's connections to daemons: requests in, results and events out.

The first connection comes from the zygote's fork, later ones through `shim.sock` in the bundle. Events go to the newest
one; what a daemon has to note is waited for, but not long, and not at all where no daemon is connected. Sending never
blocks: a daemon that does not read is dropped and finds everything by `state` when it connects again.
"""

from __future__ import annotations

import os

from . import protocol
from .container import Container
from .loop import READABLE
from .worker import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from .loop import Loop

SOCKET_NAME = "shim.sock"
ACK_LIMIT_S = 5.0
OPERATIONS = frozenset(
    ("create", "start", "listen", "kill", "pause", "resume", "resize", "pids", "stats", "update", "proxy")
    + ("attach", "attach_release", "exec", "state")
)


class Server:
    def __init__(self, loop: Loop, first: socket.socket, bundle: str) -> None:
        self._loop = loop
        self._bundle = bundle
        self._listener: socket.socket | None = protocol.listen(bundle, SOCKET_NAME)
        self._connections: list[socket.socket] = []
        self._unnoted: dict[int, Callable[[bool], None]] = {}
        self._last_ack = 0
        self.container = Container(loop, bundle, tell=self._tell, on_deleted=self._close)
        loop.watch(self._listener.fileno(), READABLE, self._accept)
        self._add(first)

    def _accept(self, _events: int) -> None:
        if self._listener is not None:
            self._add(self._listener.accept()[0])

    def _add(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connections.append(connection)
        self._loop.watch(connection.fileno(), READABLE, lambda _events: self._serve(connection))

    def _drop(self, connection: socket.socket) -> None:
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._loop.forget(connection.fileno())
        connection.close()
        if not self._connections:
            self._all_gone()

    def _all_gone(self) -> None:
        """No daemon is there: nothing to wait for, and a container that was never made has no reason to be."""
        if not self.container.created:
            self._loop.stopped = True
            return
        self.container.release_all()
        for ack in list(self._unnoted):
            self._noted(ack, False)

    def _serve(self, connection: socket.socket) -> None:
        try:
            received = protocol.receive(connection)
        except BlockingIOError:
            return
        except ValueError:
            received = None
        if received is None:
            self._drop(connection)
            return
        message, fds = received
        try:
            if message.get("op") == "ack":
                self._noted(message["ack"], True)
            else:
                self._send(connection, self._answer(message, fds))
        finally:
            fds.close()
        if not self.container.created:
            # A create that failed: there is nothing that this process could still be for
            self._loop.stopped = True

    def _answer(self, message: dict[str, Any], fds: protocol.FdSet) -> dict[str, Any]:
        sequence = message.get("seq")
        op = message.get("op")
        try:
            if op not in OPERATIONS:
                raise protocol.Failure("invalid_argument", f"unknown operation {op!r}")
            return {"seq": sequence, "result": getattr(self.container, op)(message, fds)}
        except Exception as failure:
            if op in ("create", "start"):
                self.container.undo()
            return {"seq": sequence, "error": describe(failure)}

    def _tell(self, event: dict[str, Any], then: Callable[[bool], None] | None) -> None:
        if then is None:
            if self._connections:
                self._send(self._connections[-1], event)
            return
        if not self._connections:
            then(False)
            return
        self._last_ack += 1
        ack = self._last_ack
        self._unnoted[ack] = then
        self._loop.call_later(ACK_LIMIT_S, lambda: self._noted(ack, False))
        self._send(self._connections[-1], event | {"ack": ack})

    def _noted(self, ack: int, noted: bool) -> None:
        then = self._unnoted.pop(ack, None)
        if then is not None:
            then(noted)

    def _send(self, connection: socket.socket, message: dict[str, Any]) -> None:
        try:
            protocol.send(connection, message)
        except OSError:
            self._drop(connection)

    def _close(self) -> None:
        """The container is gone for good; a daemon sees that by the end of the connection."""
        if self._listener is not None:
            self._loop.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None
            os.unlink(f"{self._bundle}/{SOCKET_NAME}")
        for connection in self._connections:
            self._loop.forget(connection.fileno())
            connection.close()
        self._connections.clear()
