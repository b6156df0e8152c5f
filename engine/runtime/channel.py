"""The conversation between the runtime and the process that becomes the container's.

A SEQPACKET socket carries a few named messages, sometimes with a JSON argument or one descriptor:

    parent to child: prepared (ids are mapped, the cgroup is entered), clocks-set, hooks-done, start, known (answers
                     forked)
    child to parent: clocks (set those of my time namespace), hooks (run prestart and createRuntime now), ready (all
                     but execve is done; with the console's master), forked (a second process goes on, its pid and
                     pidfd), error (a RuntimeFailure, the last)

The socket is close-on-exec: its end after "start" is the news that execve worked.
"""

from __future__ import annotations

import json
import socket

from .errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIZE = 65536


def send(sock: socket.socket, name: str, *, argument: object = None, fd: int = -1) -> None:
    data = name.encode() if argument is None else f"{name} {json.dumps(argument)}".encode()
    try:
        if fd < 0:
            sock.send(data, socket.MSG_NOSIGNAL)
        else:
            socket.send_fds(sock, [data], [fd], socket.MSG_NOSIGNAL)
    except BrokenPipeError:
        pass  # the other end's last words, which say why, are yet to be read


def send_failure(sock: socket.socket, failure: RuntimeFailure) -> None:
    argument = {"kind": failure.kind, "message": failure.message[: _SIZE // 8], "errno": failure.errno}
    send(sock, "error", argument=argument)


def receive(sock: socket.socket) -> tuple[str, Any, int]:
    """Return the next message: its name ("" at the end), argument and descriptor (or -1); raise a reported failure."""
    try:
        data, fds, _flags, _address = socket.recv_fds(sock, _SIZE, 1, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        # The other end died with something of ours unread; the kernel tells that before its last words
        data, fds, _flags, _address = socket.recv_fds(sock, _SIZE, 1, socket.MSG_CMSG_CLOEXEC)
    name, _, text = data.decode().partition(" ")
    argument: Any = json.loads(text) if text else None
    if name == "error":
        raise RuntimeFailure(argument["kind"], argument["message"], argument["errno"])
    return name, argument, fds[0] if fds else -1


def expect(sock: socket.socket, name: str) -> int:
    """Wait for the named message and return its descriptor; anything else means that the other end has gone wrong."""
    received, _, fd = receive(sock)
    if received != name:
        raise RuntimeFailure("internal", f"expected {name!r} from the other process, got {received or 'its end'!r}")
    return fd
