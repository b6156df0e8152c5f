"""The root of a container that shares the host's mount namespace: a mount of its own there, which goes with it.

What the container mounts is below it, so that nothing stays when it is taken away as a whole.
"""

from __future__ import annotations

import os

from . import linux
from .constants import AT_EMPTY_PATH, AT_RECURSIVE, MNT_DETACH, MS_PRIVATE, O_PATH, OPEN_TREE_CLONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import ExitStack

_DIRECTORY = O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def attach(root_path: str, undo: ExitStack) -> int:
    """Mount the root's directory over itself; return the mount's number."""
    directory_fd = os.open(root_path, _DIRECTORY)
    try:
        mount_fd = linux.open_tree(directory_fd, "", OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH)
        try:
            linux.move_mount(mount_fd, directory_fd, target=root_path)
            number = _number(mount_fd)
            undo.callback(detach, root_path, number)
            # Only now: attaching it to a shared mount has made it shared, and what comes below it would be seen twice.
            linux.mount_setattr(mount_fd, AT_RECURSIVE, propagation=MS_PRIVATE)
        finally:
            os.close(mount_fd)
    finally:
        os.close(directory_fd)
    return number


def detach(root_path: str, number: int) -> None:
    """Take the mount with this number away, with all below it; nothing where it is not there (any more)."""
    if not number:
        return
    try:
        fd = os.open(root_path, _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        if _number(fd) == number:
            # What is below must not go from where it was bound from.
            linux.mount_setattr(fd, AT_RECURSIVE, propagation=MS_PRIVATE)
            linux.umount2(f"/proc/self/fd/{fd}", MNT_DETACH)
    finally:
        os.close(fd)


def _number(fd: int) -> int:
    with open(f"/proc/self/fdinfo/{fd}") as file:
        return int(next(line.split()[1] for line in file if line.startswith("mnt_id:")))
