"""The resolver's process, forked from the zygote; it goes on when the daemon ends, and the next one finds it.

It listens on `resolver.sock` in its directory; the daemon that connects last is the one it serves. Requests:
{"op": "add", "id": container} with the descriptors "udp", "tcp" and "netns"; {"op": "remove", "id": container};
{"op": "keep", "ids": […]} to forget all others, answered with those that are there; {"op": "stop"}. Names come by the
file `records.json`, which the daemon replaces.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket

from ...runtime import linux
from ...shim import protocol
from ...shim.loop import READABLE, Loop
from . import names
from .forward import Forwarder
from .service import Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOCKET_NAME = "resolver.sock"
RECORDS_NAME = "records.json"
LOG_NAME = "resolver.log"
_IN_MOVED_TO, _IN_DELETE = 0x80, 0x200  # inotify(7)
_EVENT_BYTES = 64 * 1024


class Resolver:
    def __init__(self, loop: Loop, directory: str) -> None:
        self._loop = loop
        self._records_path, self._socket_path = f"{directory}/{RECORDS_NAME}", f"{directory}/{SOCKET_NAME}"
        self._services: dict[str, Service] = {}
        self._forwarder = Forwarder(loop)
        self._watch_fd = linux.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        # The directory's own end is not told: the kernel keeps it for as long as a socket is bound in it.
        linux.inotify_add_watch(self._watch_fd, directory, _IN_MOVED_TO | _IN_DELETE)
        self._containers = names.read(self._records_path)
        self._listener = protocol.listen(directory, SOCKET_NAME)
        self._socket_inode = os.stat(self._socket_path).st_ino
        loop.watch(self._watch_fd, READABLE, lambda _: self._refresh())
        loop.watch(self._listener.fileno(), READABLE, lambda _: self._accept())

    def serve(self, connection: socket.socket) -> None:
        """Take requests from a daemon."""
        connection.setblocking(False)
        self._loop.watch(connection.fileno(), READABLE, lambda _: self._request(connection))

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        self.serve(connection)

    def _request(self, connection: socket.socket) -> None:
        try:
            received = protocol.receive(connection)
        except BlockingIOError:
            return
        if received is None:
            self._loop.forget(connection.fileno())
            connection.close()
            self._loop.stopped = not self._services
            return
        message, fds = received
        try:
            result = getattr(self, f"_op_{message['op']}")(message, fds)
            protocol.send(connection, {"seq": message["seq"], "result": result})
        finally:
            fds.close()

    def _op_add(self, message: dict[str, Any], fds: protocol.FdSet) -> None:
        container_id = message["id"]
        self._op_remove(message, fds)
        self._services[container_id] = Service(
            self._loop,
            self._forwarder,
            udp_fd=fds.steal("udp"),
            tcp_fd=fds.steal("tcp"),
            netns_fd=fds.steal("netns"),
            view=lambda: self._containers.get(container_id),
            refresh=self._refresh,
        )

    def _op_remove(self, message: dict[str, Any], _fds: protocol.FdSet) -> None:
        service = self._services.pop(message["id"], None)
        if service is not None:
            service.close()

    def _op_keep(self, message: dict[str, Any], _fds: protocol.FdSet) -> list[str]:
        for container_id in [id for id in self._services if id not in message["ids"]]:
            self._services.pop(container_id).close()
        return list(self._services)

    def _op_stop(self, _message: dict[str, Any], _fds: protocol.FdSet) -> None:
        self._loop.stopped = True

    def _refresh(self) -> None:
        """Read the records again where they have been replaced; end where no daemon can find us any more."""
        try:
            os.read(self._watch_fd, _EVENT_BYTES)
        except BlockingIOError:
            return
        if not self._is_found():
            self._loop.stopped = True
            return
        self._containers = names.read(self._records_path)
        for service in self._services.values():
            service.records_changed()

    def _is_found(self) -> bool:
        """Whether the socket in the directory is ours; it goes with the directory, or for another resolver's."""
        try:
            return os.stat(self._socket_path).st_ino == self._socket_inode
        except FileNotFoundError:
            return False


def main(control: socket.socket, directory: str) -> None:
    """Serve until told to stop; the caller then leaves the process."""
    os.setsid()
    linux.set_name("lightship-dns")
    gc.enable()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a service manager's signals are for the daemon
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop = Loop(on_error=lambda failure: _log(directory, failure))
    resolver = Resolver(loop, directory)
    resolver.serve(control)
    loop.run()


def _log(directory: str, failure: Exception) -> None:
    import traceback

    with open(f"{directory}/{LOG_NAME}", "a", encoding="utf-8") as file:
        traceback.print_exception(failure, file=file)
