"""`docker diff`: what a container has changed, read from its own layer.

Runs in a worker process (`fileworker.py`). Only what is in the container's layer is looked at, and compared with what
is below it as overlayfs shows that; the init layer counts as below, so what the engine puts into every container is no
change. Kinds are those of dockerd (go-archive's `FileInfo.Changes`): a file that was opened for writing and is as it
was is no change, and a directory is one wherever something in it is.
"""

from __future__ import annotations

import os
import stat

from ..snapshots.difference import ADDED, DELETED, MODIFIED, is_changed
from ..snapshots.marks import FUSE_MARKS, is_opaque, is_whiteout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..snapshots.difference import Change

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CAPABILITY = "security.capability"


def compare(upper_fd: int, lower_fd: int) -> list[Change]:
    """Return the changes, each directory before what is in it."""
    found: list[Change] = []
    _compare(upper_fd, lower_fd, "", found)
    return found


def _compare(upper_fd: int, lower_fd: int, path: str, found: list[Change]) -> None:
    """Add the changes in one directory; `lower_fd` is -1 where there is none below."""
    names = sorted(set(os.listdir(upper_fd)) - FUSE_MARKS)
    for name in names:
        status, below = _lstat(upper_fd, name), _lstat(lower_fd, name)
        inside = f"{path}/{name}"
        if status is None:
            continue
        if is_whiteout(status):
            if below is not None:
                found.append((inside, DELETED))
            continue
        own = len(found)
        if below is None:
            found.append((inside, ADDED))
        elif is_changed(status, below) or _capability(upper_fd, name) != _capability(lower_fd, name):
            found.append((inside, MODIFIED))
        first_inner = len(found)
        if stat.S_ISDIR(status.st_mode):
            is_merged = below is not None and stat.S_ISDIR(below.st_mode)
            _enter(upper_fd, lower_fd if is_merged else -1, name, inside, found)
        if own == first_inner and len(found) > own:
            found.insert(own, (inside, MODIFIED))
    if lower_fd >= 0 and is_opaque(upper_fd):
        found += [(f"{path}/{name}", DELETED) for name in sorted(set(os.listdir(lower_fd)) - set(names))]


def _enter(upper_fd: int, lower_fd: int, name: str, path: str, found: list[Change]) -> None:
    try:
        upper_inner = os.open(name, _DIRECTORY, dir_fd=upper_fd)
    except (FileNotFoundError, NotADirectoryError):
        return  # the container has just taken it away
    lower_inner = -1
    try:
        if lower_fd >= 0:
            lower_inner = os.open(name, _DIRECTORY, dir_fd=lower_fd)
        _compare(upper_inner, lower_inner, path, found)
    finally:
        os.close(upper_inner)
        if lower_inner >= 0:
            os.close(lower_inner)


def _lstat(directory_fd: int, name: str) -> os.stat_result | None:
    if directory_fd < 0:
        return None
    try:
        return os.lstat(name, dir_fd=directory_fd)
    except FileNotFoundError:
        return None


def _capability(directory_fd: int, name: str) -> bytes:
    try:
        return os.getxattr(f"/proc/self/fd/{directory_fd}/{name}", _CAPABILITY, follow_symlinks=False)
    except OSError:
        return b""
