"""Messages between daemon, zygote and shim: one JSON object a SOCK_SEQPACKET message, with descriptors beside it.

Requests are `{"seq", "op", …}`, answered by `{"seq", "result"}` or `{"seq", "error"}`; what the shim tells unasked is
`{"event", …}`, and the daemon answers those that carry an `"ack"` number with `{"op": "ack", "ack": number}`. The
names of the descriptors that come with a message are its `"fds"`. A body that is too long for one message travels in
a memfd. Both ends use this module; it does not wait, retry or know what any message means.
"""

from __future__ import annotations

import json
import os
import socket
from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

MAX_MESSAGE_BYTES = 64 * 1024
MAX_FDS = 253  # SCM_MAX_FD, unix(7)
PACKED = "packed"
"""The name of the descriptor that brings those for which a message has no room."""
_PACKED_FDS = 100


class Failure(Exception):
    """A request that is refused; `kind` is the snake-case name of a class in `lightship.engine.errors`."""

    def __init__(self, kind: str, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.errno = errno


class FdSet:
    """Received descriptors by name. What is not stolen is closed with the set."""

    __slots__ = ("_fds",)

    def __init__(self, names: Sequence[str], fds: Sequence[int]) -> None:
        self._fds = dict(zip(names, fds, strict=True))

    def __contains__(self, name: str) -> bool:
        return name in self._fds

    def steal(self, name: str) -> int:
        """Hand the descriptor `name` over to the caller."""
        try:
            return self._fds.pop(name)
        except KeyError:
            raise Failure("invalid_argument", f"no file descriptor {name!r} came with the message") from None

    def steal_all(self) -> dict[str, int]:
        fds, self._fds = self._fds, {}
        return fds

    def close(self) -> None:
        for fd in self.steal_all().values():
            os.close(fd)


def error(kind: str, message: str, errno: int = 0) -> dict[str, Any]:
    return {"kind": kind, "message": message, "errno": errno}


def send(connection: socket.socket, message: Mapping[str, Any], fds: Mapping[str, int] | None = None) -> None:
    """Send one message. Raises BlockingIOError where a non-blocking socket is full; nothing was sent then."""
    if fds:
        message = {**message, "fds": list(fds)}
    body = json.dumps(message, separators=(",", ":")).encode()
    numbers = list(fds.values()) if fds else []
    if len(body) <= MAX_MESSAGE_BYTES:
        _send(connection, body, numbers)
        return
    body_fd = os.memfd_create("lightship-message", os.MFD_CLOEXEC)
    try:
        with open(body_fd, "wb", closefd=False) as file:
            file.write(body)
        _send(connection, b"", [*numbers, body_fd])
    finally:
        os.close(body_fd)


def _send(connection: socket.socket, body: bytes, numbers: list[int]) -> None:
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", numbers))] if numbers else []
    connection.sendmsg([body or b"\0"], ancillary)


def pack(fds: Mapping[str, int]) -> socket.socket:
    """Return a socket from which `unpack` takes any number of descriptors, to be sent as one of a message's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    names = list(fds)
    try:
        with ours:
            for start in range(0, len(names), _PACKED_FDS):
                send(ours, {}, {name: fds[name] for name in names[start : start + _PACKED_FDS]})
    except BaseException:
        theirs.close()
        raise
    return theirs


def unpack(packed_fd: int) -> dict[str, int]:
    """Take out what was packed, and close the socket."""
    found: dict[str, int] = {}
    with socket.socket(fileno=packed_fd) as packed:
        while received := receive(packed):
            found |= received[1].steal_all()
    return found


def receive(connection: socket.socket) -> tuple[dict[str, Any], FdSet] | None:
    """Return the next message, or None where the other end is gone; ValueError where it is none of ours."""
    space = socket.CMSG_SPACE(MAX_FDS * 4)
    try:
        body, ancillary, _, _ = connection.recvmsg(MAX_MESSAGE_BYTES, space, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None
    numbers = array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    if not body:
        return None
    fds = list(numbers)
    try:
        if body == b"\0":
            body = _read_and_close(fds.pop())
        message: dict[str, Any] = json.loads(body)
        return message, FdSet(message.get("fds", ()), fds)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        for fd in fds:
            os.close(fd)
        raise ValueError("not a message") from error


def _read_and_close(fd: int) -> bytes:
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()


def listen(directory: str, name: str) -> socket.socket:
    """Listen on `directory/name`, replacing what is there, however long the path is (sun_path holds 108 bytes)."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    directory_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        try:
            os.unlink(name, dir_fd=directory_fd)
        except FileNotFoundError:
            pass
        listener.bind(f"/proc/self/fd/{directory_fd}/{name}")
        os.chmod(name, 0o600, dir_fd=directory_fd)
        listener.listen(16)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(directory_fd)
    return listener


def connect(directory: str, name: str) -> socket.socket:
    """Connect to `directory/name`; raises OSError where nobody listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        directory_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            connection.connect(f"/proc/self/fd/{directory_fd}/{name}")
        finally:
            os.close(directory_fd)
    except BaseException:
        connection.close()
        raise
    return connection
