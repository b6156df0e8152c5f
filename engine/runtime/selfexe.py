"""Keeping the host's interpreter out of a container's reach.

Until its execve, a process in a container is a copy of this interpreter, and /proc/PID/exe leads to the interpreter's
file. A container that may trace its processes could keep that file open and overwrite it once nobody runs it
(CVE-2019-5736). So the program runs from a read-only mount of the file that exists nowhere else: opened through
/proc, it cannot be written by anyone. The command line starts itself anew this way; the zygote is started this way.
"""

from __future__ import annotations

import os
import sys

from . import linux
from .constants import AT_FDCWD, MOUNT_ATTR_RDONLY, OPEN_TREE_CLONE


def open_read_only(path: str) -> int:
    """Return a close-on-exec descriptor of the file on a read-only mount of its own, to be executed by descriptor."""
    fd = linux.open_tree(AT_FDCWD, os.path.realpath(path), OPEN_TREE_CLONE)
    try:
        linux.mount_setattr(fd, 0, attr_set=MOUNT_ATTR_RDONLY)
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_protected() -> bool:
    """Does this process run from a read-only mount?"""
    return bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY)


def protect() -> None:
    """Start this program anew from such a mount, unless it runs from one; returns only then, or without the right."""
    if is_protected():
        return
    try:
        fd = open_read_only(sys.executable)
    except PermissionError:
        return  # not root: the file is safe from what we could start
    # By the name, not by the file, the interpreter finds its library and its virtual environment.
    os.execve(fd, [sys.executable, *sys.orig_argv[1:]], os.environ)
