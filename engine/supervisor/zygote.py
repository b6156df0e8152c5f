"""The fork server: `python -I -m lightship.engine.supervisor.zygote FD`.

Started by the daemon's `Supervisor` with one end of a SOCK_SEQPACKET pair. It has the shim and the runtime imported, so
that a container's start runs no interpreter and imports nothing. Each message `{"bundle": directory}` with a descriptor
"control" makes it fork a shim, whose first connection to the daemon that descriptor is; `{"resolver": directory}` the
networks room's resolver; `{"namespace": mapping}` sends a network namespace that belongs to a new user namespace.
There is no answer but the new process's own. It holds no state, ends with its connection, and
what it forked does not notice.

Shims are its children, which it reaps, as long as it lives; then they pass to init. A second fork would make them
init's at once, but costs a start half a millisecond, and leaves a zombie a container where the daemon runs in a
container whose first process reaps nobody.
"""

from __future__ import annotations

import gc
import os
import socket
import sys

from ..runtime import linux, outside, selfexe
from ..runtime.cgroups import cgroup
from ..shim import main as shim
from ..shim import pages, protocol
from ..shim.rehearsal import rehearse
from ..shim.worker import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

REHEARSALS = 2
"""Giving back pages writes to memory too, the less the more often it was done before."""


def main() -> None:
    selfexe.protect()
    gc.disable()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, int(sys.argv[1]))
    os.set_inheritable(connection.fileno(), False)
    os.setsid()
    linux.set_name("lightship-zyg")
    cgroup.hierarchies()
    rehearse()
    shim.handle_signals(_reaper())
    gc.collect()
    gc.freeze()
    _share_memory()
    while received := protocol.receive(connection):
        message, fds = received
        control_fd = fds.steal("control")
        try:
            if "namespace" in message:
                _make_namespace(control_fd, message["namespace"])
            elif "resolver" in message:
                _fork(connection, control_fd, _become_resolver, message["resolver"])
            else:
                _fork(connection, control_fd, _become_shim, message["bundle"])
        finally:
            os.close(control_fd)
            fds.close()


def _share_memory() -> None:
    try:
        for _ in range(REHEARSALS):
            pages.share()
            pages.give_back()
        pages.share()
    except (AttributeError, OSError, ValueError):
        pass  # no such calls here, or no memory for the file: shims keep what they have written to


def _reaper() -> Callable[[], None]:
    """Return what reaps ended shims. A shim inherits it as its handler, and reaps its children by itself."""
    zygote_pid = os.getpid()

    def reap() -> None:
        try:
            while os.getpid() == zygote_pid and os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    return reap


def _fork(connection: socket.socket, control_fd: int, become: Callable[[int, str], None], directory: str) -> None:
    assert len(os.listdir("/proc/self/task")) == 1, "a fork would lose the other threads"
    try:
        pid = os.fork()
    except OSError as failure:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, os.dup(control_fd)) as control:
            protocol.send(control, {"error": describe(failure)})
        return
    if pid:
        return
    status = 1
    try:
        connection.close()
        become(control_fd, directory)
        status = 0
    finally:
        os._exit(status)


def _make_namespace(control_fd: int, mapping: dict[str, Any]) -> None:
    """Send a network namespace in a user namespace with this mapping; only who has one thread can make these."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, os.dup(control_fd)) as control:
        try:
            netns_fd = outside.make_user_namespace(mapping, network=True)
        except OSError as failure:
            protocol.send(control, {"error": describe(failure)})
            return
        protocol.send(control, {}, {"netns": netns_fd})
        os.close(netns_fd)


def _become_resolver(control_fd: int, directory: str) -> None:
    """Run the resolver in the child; shims have no use for its modules, so they are imported there."""
    from ..networks.resolver import main as resolver

    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, control_fd)
    for fd in (1, 2):
        os.dup2(0, fd)
    resolver.main(control, directory)


def _become_shim(control_fd: int, bundle: str) -> None:
    """Run the shim in the child; what it raises before it can serve goes to the daemon."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, control_fd)
    try:
        for fd in (1, 2):
            os.dup2(0, fd)
        shim.main(control, bundle)
    except Exception as failure:
        protocol.send(control, {"error": describe(failure)})


if __name__ == "__main__":
    main()
