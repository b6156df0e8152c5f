"""A process's terminal: a pty of the container's own devpts.

Opened inside the container's root, so that its name is right there; the master goes back to the shim over the
channel. The image may have put anything at these paths, hence the checks.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import termios

from . import linux
from .constants import AT_EMPTY_PATH, DEVPTS_SUPER_MAGIC, O_PATH, OPEN_TREE_CLONE, TIOCGPTPEER, TIOCSPTLCK
from .errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PTMX = os.makedev(5, 2)


def open_pty(size: dict[str, Any] | None) -> tuple[int, int]:
    """Return (master, slave) of a new pty, with the console size of the spec."""
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        info = os.fstat(master)
        if not stat.S_ISCHR(info.st_mode) or info.st_rdev != _PTMX or linux.fstatfs_type(master) != DEVPTS_SUPER_MAGIC:
            raise RuntimeFailure("internal", "ptmx handle is not a real ptmx device")
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        if size and size.get("height") and size.get("width"):
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", size["height"], size["width"], 0, 0))
    except BaseException:
        os.close(master)
        raise
    return master, slave


def mount_console(slave: int) -> None:
    """Bind the slave on /dev/console, which is made where it is missing."""
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open("/dev/console", flags | os.O_EXCL, 0o666))
    except FileExistsError:
        pass
    target_fd = os.open("/dev/console", O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mount_fd = linux.open_tree(slave, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
        try:
            linux.move_mount(mount_fd, target_fd, target="/dev/console")
        finally:
            os.close(mount_fd)
    finally:
        os.close(target_fd)


def make_standard(slave: int) -> None:
    """Make the slave 0, 1 and 2 and the session's controlling terminal."""
    for standard in range(3):
        os.dup2(slave, standard)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
