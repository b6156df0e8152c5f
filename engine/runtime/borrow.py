"""A mount of another container, cloned for one that shares it.

Only a process in the other container's mount namespace can clone what is mounted there, and only a child of a
single-threaded process can go there and leave no trace. The clone is detached: it is no one's until it is attached.
"""

from __future__ import annotations

import os
import socket

from . import channel, linux
from .constants import AT_EMPTY_PATH, CLONE_NEWNS, O_PATH, OPEN_TREE_CLONE, RESOLVE_NO_SYMLINKS
from .errors import RuntimeFailure, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def clone_mount(mount_namespace_fd: int, path: str) -> int:
    """Return a detached clone of what is mounted at `path` in that namespace; raise RuntimeFailure."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        pid = os.fork()
        if pid == 0:
            _clone(theirs, mount_namespace_fd, path)
        theirs.close()
        try:
            return channel.expect(ours, "cloned")
        finally:
            os.waitpid(pid, 0)


def _clone(sock: socket.socket, mount_namespace_fd: int, path: str) -> NoReturn:
    try:
        linux.setns(mount_namespace_fd, CLONE_NEWNS)
        root_fd = os.open("/", O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        fd = linux.openat2(root_fd, path.lstrip("/"), flags=O_PATH | os.O_DIRECTORY, resolve=RESOLVE_NO_SYMLINKS)
        channel.send(sock, "cloned", fd=linux.open_tree(fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH))
    except OSError as error:
        channel.send_failure(sock, RuntimeFailure("internal", f"sharing {path}: {describe(error)}", error.errno or 0))
    finally:
        os._exit(0)
