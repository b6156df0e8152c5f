"""The container's root: the mount it is made of, entering it, and what is hidden or read-only in it.

Called by init, in the container's own mount namespace. Ordinary mounts are in `mounts.py`.
"""

from __future__ import annotations

import errno
import os
import stat

from . import linux, mount_options
from .constants import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MNT_DETACH,
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_RDONLY,
    MS_MOVE,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    O_PATH,
    OPEN_TREE_CLONE,
)
from .errors import RuntimeFailure, reason
from .filesystem import new_filesystem
from .mounts import clone_tree, set_bind_attributes
from .overlay import new_overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def isolate(root_path: str, propagation: str) -> None:
    """Cut the copied mounts off from the host's, so that nothing done from here on shows outside.

    With a shared root propagation the copies stay peers, but the mount that holds the bundle becomes private:
    pivot_root refuses a shared parent, and the root must not leak into it.
    """
    recursive, kind = mount_options.PROPAGATION.get(propagation, (True, MS_SLAVE))
    linux.mount("", "/", "", kind | (MS_REC if recursive else 0))
    if kind == MS_SLAVE:
        return
    path = root_path
    while True:
        try:
            linux.mount("", path, "", MS_PRIVATE)
            return
        except OSError as error:
            if error.errno != errno.EINVAL or path == "/":
                raise
            path = os.path.dirname(path)


def open_mounts(rootfs: Sequence[dict[str, Any]], *, in_own_namespace: bool = False) -> list[int]:
    """Make the root's mounts, detached: one descriptor each, the lowest first (see `overlay.new_overlay`)."""
    fds: list[int] = []
    try:
        for entry in rootfs:
            fds.append(new_overlay(entry, in_own_namespace=in_own_namespace) if "lower" in entry else _other(entry))
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return fds


def attach(root_path: str, mount_fds: Sequence[int]) -> int:
    """Mount the root on the bundle's rootfs directory (itself, without mounts given) and return its descriptor."""
    target_fd = os.open(root_path, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not mount_fds:
            mount_fds = [linux.open_tree(target_fd, "", OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH)]
        for fd in mount_fds:
            linux.move_mount(fd, target_fd, target=root_path)
            os.close(target_fd)
            # Not the detached descriptor itself: pivot_root and path lookups want one made in this namespace.
            target_fd = os.open(root_path, O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            os.close(fd)
    except BaseException:
        os.close(target_fd)
        raise
    return target_fd


def _other(entry: dict[str, Any]) -> int:
    options = mount_options.parse(entry.get("options") or ())
    if options.bind or entry["type"] == "bind":
        fd = clone_tree(entry["source"], options)
        set_bind_attributes(fd, options)
        linux.mount_setattr(fd, 0, propagation=MS_PRIVATE)
        if entry.get("id_map"):
            linux.mount_setattr(fd, 0, attr_set=MOUNT_ATTR_IDMAP, userns_fd=entry["id_map"]["userns_fd"])
        return fd
    data = list(mount_options.flag_words(options.data))
    return new_filesystem(entry["type"], entry.get("source") or entry["type"], data, options.attr_set)


def pivot(root_fd: int) -> None:
    """Make the root the only thing there is: pivot_root(".", ".") needs no directory for the old one."""
    old_fd = os.open("/", O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fchdir(root_fd)
        linux.pivot_root(".", ".")
        os.fchdir(old_fd)
    finally:
        os.close(old_fd)
    # Slave, not private: unmounting must not reach the host, yet host unmounts must not be held up by this copy.
    linux.mount("", ".", "", MS_SLAVE | MS_REC)
    linux.umount2(".", MNT_DETACH)
    os.chdir("/")


def move_and_chroot(root_fd: int, root_path: str) -> None:
    """The way without pivot_root (initramfs); full mounts of proc and sysfs must not stay reachable under it."""
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file]
    for fields in lines:
        kind = fields[fields.index("-") + 1]
        point = fields[4].encode().decode("unicode_escape")
        if fields[3] != "/" or kind not in ("proc", "sysfs") or point.startswith(root_path):
            continue
        try:
            linux.mount("", point, "", MS_SLAVE | MS_REC)
            linux.umount2(point, MNT_DETACH)
        except FileNotFoundError:
            continue
        except OSError:
            linux.mount("tmpfs", point, "tmpfs", 0)
    os.fchdir(root_fd)
    linux.mount(root_path, "/", "", MS_MOVE)
    os.chroot(".")
    os.chdir("/")


def chroot(root_fd: int) -> None:
    """Enter the root without a mount namespace."""
    os.fchdir(root_fd)
    os.chroot(".")
    os.chdir("/")


def set_propagation(propagation: str) -> None:
    """Apply a shared or unbindable root propagation to the new root; slave and private are in effect already."""
    recursive, kind = mount_options.PROPAGATION[propagation]
    if kind in (MS_SHARED, MS_UNBINDABLE):
        linux.mount("", "/", "", kind | (MS_REC if recursive else 0))


def remount_read_only(path: str) -> None:
    """Make the mount at `path` read-only, its other attributes kept; symlinks cannot lead elsewhere from a mount."""
    fd = os.open(path, O_PATH | os.O_CLOEXEC)
    try:
        linux.mount_setattr(fd, 0, attr_set=MOUNT_ATTR_RDONLY)
    finally:
        os.close(fd)


def make_paths_read_only(paths: Sequence[str]) -> None:
    """Cover each existing path by a read-only bind of itself."""
    for path in paths:
        try:
            target_fd = os.open(path, O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fd = linux.open_tree(target_fd, "", OPEN_TREE_CLONE | AT_RECURSIVE | AT_EMPTY_PATH)
            try:
                linux.mount_setattr(fd, 0, attr_set=MOUNT_ATTR_RDONLY)
                linux.move_mount(fd, target_fd, target=path)
            finally:
                os.close(fd)
        except OSError as error:
            message = f'can\'t make "{path}" read-only: {reason(error)}'
            raise RuntimeFailure("internal", message, error.errno or 0) from error
        finally:
            os.close(target_fd)


def mask_paths(paths: Sequence[str]) -> None:
    """Hide files behind /dev/null and directories behind one empty read-only tmpfs."""
    null_fd = -1
    empty_path = ""
    for path in dict.fromkeys(os.path.normpath(path) for path in paths):
        try:
            target_fd = os.open(path, O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            if stat.S_ISDIR(os.fstat(target_fd).st_mode):
                fd = _empty_directory(empty_path)
                empty_path = empty_path or path
            else:
                null_fd = null_fd if null_fd >= 0 else _open_null()
                fd = linux.open_tree(null_fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
            try:
                linux.move_mount(fd, target_fd, target=path)
            finally:
                os.close(fd)
        except OSError as error:
            message = f'can\'t mask path "{path}": {reason(error)}'
            raise RuntimeFailure("internal", message, error.errno or 0) from error
        finally:
            os.close(target_fd)
    if null_fd >= 0:
        os.close(null_fd)


def _empty_directory(made_before: str) -> int:
    if made_before:
        return linux.open_tree(AT_FDCWD, made_before, OPEN_TREE_CLONE)
    return new_filesystem("tmpfs", "tmpfs", [("ro", None), ("nr_blocks", "1"), ("nr_inodes", "2")], MOUNT_ATTR_RDONLY)


def _open_null() -> int:
    """The container's /dev/null, if it is one: an image or a volume may have put something else there."""
    fd = os.open("/dev/null", O_PATH | os.O_CLOEXEC)
    info = os.fstat(fd)
    if not stat.S_ISCHR(info.st_mode) or info.st_rdev != os.makedev(1, 3):
        os.close(fd)
        raise RuntimeFailure("internal", "can't mask paths: container's /dev/null is invalid")
    return fd
