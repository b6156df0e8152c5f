"""What --chown says, looked up in the file system that is written to."""

from __future__ import annotations

import os
import stat

from ...runtime.linux import openat2
from . import trees

_MAX_FILE_BYTES = 16 << 20


def lookup(root_fd: int, user: str, group: str) -> tuple[int, int]:
    """Return the ids. As in BuildKit a name that is not there is root's, and a user's number is also its group's."""
    uid = gid = 0
    if user.isdecimal():
        uid = gid = int(user)
    elif entry := _find(root_fd, "etc/passwd", user, fields=4):
        uid, gid = int(entry[2]), int(entry[3])
    if group.isdecimal():
        gid = int(group)
    elif group:
        found = _find(root_fd, "etc/group", group, fields=3)
        gid = int(found[2]) if found else 0
    return uid, gid


def _find(root_fd: int, path: str, name: str, *, fields: int) -> list[str] | None:
    try:
        fd = openat2(root_fd, path, flags=os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, resolve=trees.INSIDE)
    except OSError:
        return None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        lines = file.read(_MAX_FILE_BYTES).decode("utf-8", "replace").splitlines()
    for line in lines:
        entry = line.strip().split(":")
        if entry[0] == name and len(entry) >= fields and all(entry[at].isdecimal() for at in range(2, fields)):
            return entry
    return None
