"""The shim's process, from the zygote's fork to its end.

One single-threaded loop over everything that can happen to one container. It belongs to a session of its own, is the
reaper of what its container leaves behind, ignores the signals that end daemons, and has no terminal or log of its
own: `shim.log` in the bundle takes what should never happen.
"""

from __future__ import annotations

import gc
import os
import signal
import socket

from ..runtime import linux
from .loop import READABLE, Loop
from .pages import give_back
from .server import Server
from .worker import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def main(control: socket.socket, bundle: str) -> None:
    """Serve the container of `bundle`, to its end; the caller then leaves the process."""
    os.setsid()
    linux.set_name("lightship-shim")
    linux.prctl(PR_SET_CHILD_SUBREAPER, 1)
    gc.enable()
    serve(control, bundle)


def serve(control: socket.socket, bundle: str) -> None:
    """Do what the daemon asks for until the container is gone, or was never made."""
    loop = Loop(on_error=lambda failure: _log(bundle, failure), on_quiet=give_back)
    wakeup_fd, write_fd = _watch_children()
    server = Server(loop, control, bundle)

    def child_ended(_events: int) -> None:
        os.read(wakeup_fd, 4096)
        server.container.reap()

    loop.watch(wakeup_fd, READABLE, child_ended)
    try:
        loop.run()
    finally:
        loop.close()
        signal.set_wakeup_fd(-1)
        os.close(wakeup_fd)
        os.close(write_fd)


def handle_signals(child_ended: Callable[[], None]) -> None:
    """In the zygote: install the handlers that each shim inherits, for `signal.signal` costs much memory after a fork.

    A service manager's and a terminal's signals are for the daemon. Handlers, unlike SIG_IGN, end with an execve.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGCHLD, lambda *_: child_ended())


def _watch_children() -> tuple[int, int]:
    """Return a pipe that can be read when a child has ended."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    return read_fd, write_fd


def _log(bundle: str, failure: Exception) -> None:
    try:
        with open(f"{bundle}/shim.log", "a", encoding="utf-8") as file:
            file.write(f"{describe(failure)['message']}\n")
    except OSError:
        pass  # the bundle is gone
