"""An engine that a Python program holds: there from `start` to `close`, and gone whatever ends the program."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

from ...engine.errors import Unavailable
from ...engine.runtime import linux
from ...engine.runtime.constants import CLONE_NEWNET

_THIS_NETWORK = "/proc/thread-self/ns/net"
_START_S = 120.0


class HeldEngine:
    """One engine; several may be held at once, each with ports, names and data of its own."""

    def __init__(self, *, archives: Sequence[str] = (), flags: Sequence[str] = (), private: bool = True) -> None:
        ours, theirs = socket.socketpair()
        loads = [word for archive in archives for word in ("--load", archive)]
        network = "private" if private else "host"
        held = [sys.executable, "-I", "-m", "lightship.api.command.hold", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                [*_LIGHTSHIP, "run", "--quiet", "--network", network, *loads, *flags, "--", *held],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._holder = ours
        ours.settimeout(_START_S)
        try:
            host, fds, _, _ = socket.recv_fds(ours, 4096, 1)
        except OSError as error:
            self.close()
            raise Unavailable(f"no engine after {_START_S:.0f} seconds") from error
        if not fds:
            _, words = self._process.communicate()
            ours.close()
            raise Unavailable(f"no engine could be started: {words.decode(errors='replace').strip()}")
        self.host = host.decode()
        self._netns_fd = fds[0]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Bring the calling thread, and what it starts, into the engine's network: published ports are on localhost."""
        home_fd = os.open(_THIS_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            linux.setns(self._netns_fd, CLONE_NEWNET)
            yield
        finally:
            linux.setns(home_fd, CLONE_NEWNET)
            os.close(home_fd)

    def close(self) -> None:
        """End the engine, and wait until nothing of it is left."""
        self._holder.close()
        if self._process.returncode is None:
            self._process.communicate()
            os.close(self._netns_fd)


_LIGHTSHIP = (sys.executable, "-I", "-m", "lightship.api.command.main")
