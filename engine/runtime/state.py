"""`state.json` of a container: what later callers need to find its process, cgroup and settings again."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager

from .errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

OCI_VERSION = "1.2.1"


def save(state_dir: str, state: dict[str, Any]) -> None:
    """Write the state so that a reader sees the old or the new one, never half."""
    path = os.path.join(state_dir, "state.json")
    temporary = f"{path}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps(state).encode())
    finally:
        os.close(fd)
    os.rename(temporary, path)


def read(state_dir: str) -> dict[str, Any]:
    """Return the saved state; NotFound without one."""
    try:
        with open(os.path.join(state_dir, "state.json"), "rb") as file:
            state: dict[str, Any] = json.loads(file.read())
            return state
    except FileNotFoundError as error:
        raise RuntimeFailure("not_found", "container does not exist", error.errno or 0) from error


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 when there is none or only its zombie is left."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        # The command name may hold anything, a parenthesis and a space too: count from its last one.
        fields = os.read(fd, 4096).rpartition(b")")[2].split()
    except ProcessLookupError:
        return 0
    finally:
        os.close(fd)
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def is_alive(state: dict[str, Any]) -> bool:
    """Is the container's first process still the one that was written down? Pids are used again."""
    return bool(state["pid"]) and start_time(state["pid"]) == state["start_time"]


@contextmanager
def short_path(directory: str, name: str) -> Iterator[str]:
    """Give a path to a socket that fits into sockaddr_un, however long the directory's own path is."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)
