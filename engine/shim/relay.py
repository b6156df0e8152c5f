"""A log whose records go to a server: handed on to a process of its own, and kept in a file for `docker logs`.

Connecting, encoding and waiting for a slow server happen in `sender.py`, in a child, so that neither the container nor
the shim ever waits for long: a sender that takes nothing gets a moment in mode "blocking" and none otherwise; then
records are dropped until it takes them again. The file has them all.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import time

from ..runtime import linux
from .log import split_records
from .protocol import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .log import JsonFile

HEADER = struct.Struct(">BBQ")
"""Stream (1 or 2), whether a line ends here without a newline, time."""
STREAMS = {"stdout": 1, "stderr": 2}
PIECE_BYTES = 32 * 1024
STALL_S = 1.0
START_FAILED = "failed to initialize logging driver: "


class Relay:
    """Raises Failure where the server has to be there at the start and is not."""

    def __init__(self, remote: dict[str, Any], cache: JsonFile | None) -> None:
        self._cache = cache
        self._patience_s = STALL_S if remote["blocking"] else 0.0
        self._rests: dict[str, bytes] = {}
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            _become_sender(theirs, remote)
        theirs.close()
        refusal = self._connection.recv(PIECE_BYTES).decode()
        if refusal != "ready":
            self._connection.close()
            raise Failure("internal", START_FAILED + (refusal or "the log's sender has died"))
        self._connection.settimeout(self._patience_s)

    def write(self, stream: str, data: bytes) -> None:
        """Take what was read from `stream`; a line's beginning is kept until its end comes."""
        if self._cache is not None:
            self._cache.write(stream, data)
        runs, self._rests[stream] = split_records(self._rests.get(stream, b"") + data)
        for run in runs:
            while len(run) > PIECE_BYTES:
                end = run.rindex(b"\n", 0, PIECE_BYTES) + 1
                self._send(stream, run[:end])
                run = run[end:]
            self._send(stream, run)

    def finish(self, stream: str) -> None:
        """Send a last line that has no newline."""
        if self._cache is not None:
            self._cache.finish(stream)
        if rest := self._rests.pop(stream, b""):
            self._send(stream, rest, is_end=True)

    def rest(self, stream: str) -> bytes:
        return self._rests.get(stream, b"")

    def position(self) -> dict[str, Any] | None:
        return self._cache.position() if self._cache is not None else None

    def close(self) -> None:
        for stream in list(self._rests):
            self.finish(stream)
        if self._cache is not None:
            self._cache.close()
        self._connection.close()

    def _send(self, stream: str, data: bytes, *, is_end: bool = False) -> None:
        try:
            self._connection.send(HEADER.pack(STREAMS[stream], is_end, time.time_ns()) + data, socket.MSG_NOSIGNAL)
        except (BlockingIOError, TimeoutError):
            self._connection.settimeout(0)
        except OSError:
            pass  # the sender was killed: the file goes on
        else:
            self._connection.settimeout(self._patience_s)


def _become_sender(connection: socket.socket, remote: dict[str, Any]) -> None:
    """Be the sender, in the child."""
    try:
        signal.set_wakeup_fd(-1)
        fd = os.dup2(connection.fileno(), 3)
        linux.close_range(4, 0xFFFFFFFF)
        linux.set_name("lightship-log")
        from . import sender

        sender.run(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fd), remote)
    finally:
        os._exit(0)


if TYPE_CHECKING:
    Log = JsonFile | Relay
