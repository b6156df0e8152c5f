"""The runtime's work, done in a short-lived child of the shim.

Creating a container or an exec runs much code, and each object that it looks at is a page of memory that is no longer
shared with the zygote (CPython counts references in the objects). In a child those pages go when it has answered: it
costs half a millisecond, and saves each shim about a megabyte for as long as its container lives. What the child made
becomes the shim's own child, since the shim is a subreaper.
"""

from __future__ import annotations

import os
import socket

from ..runtime import linux
from ..runtime.errors import RuntimeFailure
from . import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Result = tuple[Mapping[str, Any], Mapping[str, int]]


def run(work: Callable[[], Result]) -> tuple[dict[str, Any], protocol.FdSet]:
    """Call `work` in a child; return its result and the descriptors that go with it, or raise its failure here.

    The child is reaped with all others when it has ended; nobody waits for that.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        if os.fork() == 0:
            _answer(theirs, work)
        theirs.close()
        received = protocol.receive(ours)
    if received is None:
        raise protocol.Failure("internal", "the shim's worker was killed")
    message, fds = received
    if "error" in message:
        raise protocol.Failure(**message["error"])
    return message["result"], fds


def _answer(connection: socket.socket, work: Callable[[], Result]) -> None:
    try:
        try:
            result, fds = work()
            _keep_only(connection.fileno(), *fds.values())
            protocol.send(connection, {"result": result}, fds)
        except Exception as failure:
            protocol.send(connection, {"error": describe(failure)})
    finally:
        os._exit(0)


def _keep_only(*kept_fds: int) -> None:
    """Close everything else: nobody waits for our end, and what the shim holds must be free once it lets go of it."""
    first = 0
    for fd in sorted(kept_fds):
        if fd > first:
            linux.close_range(first, fd - 1)
        first = fd + 1
    linux.close_range(first, 0xFFFFFFFF)


def describe(failure: Exception) -> dict[str, Any]:
    """Return an exception as it travels: what is not worded for users says where it came from."""
    if isinstance(failure, protocol.Failure | RuntimeFailure):
        return protocol.error(failure.kind, failure.message, failure.errno)
    errno = failure.errno or 0 if isinstance(failure, OSError) else 0
    return protocol.error("internal", f"{type(failure).__name__}: {failure} ({_place(failure)})", errno)


def _place(failure: Exception) -> str:
    traceback = failure.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return "nowhere"
    return f"{os.path.basename(traceback.tb_frame.f_code.co_filename)}:{traceback.tb_lineno}"
