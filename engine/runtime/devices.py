"""/dev of a container: its device nodes and the links that every program expects."""

from __future__ import annotations

import errno
import os
import stat

from . import inroot, linux
from .constants import AT_FDCWD, O_PATH, OPEN_TREE_CLONE, RESOLVE_BENEATH
from .errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

DEFAULT: tuple[dict[str, Any], ...] = tuple(
    {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor, "fileMode": 0o666}
    for name, major, minor in (
        ("null", 1, 3),
        ("random", 1, 8),
        ("full", 1, 7),
        ("tty", 5, 0),
        ("zero", 1, 5),
        ("urandom", 1, 9),
    )
)
"""The nodes that every container has, whatever its spec says."""

_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
)
_TYPES = {"b": stat.S_IFBLK, "c": stat.S_IFCHR, "u": stat.S_IFCHR, "p": stat.S_IFIFO}


def populate(root_fd: int, devices: Sequence[dict[str, Any]], *, bind: bool) -> None:
    """Fill /dev; with `bind` (user namespaces may not make nodes) the host's nodes are bound instead."""
    dev_fd = inroot.make_directory(root_fd, "/dev")
    try:
        for node in (*devices, *DEFAULT):
            if os.path.normpath(node["path"]) != "/dev/ptmx":
                _make(root_fd, dev_fd, node, bind=bind)
        try:
            os.unlink("ptmx", dir_fd=dev_fd)
        except FileNotFoundError:
            pass
        os.symlink("pts/ptmx", "ptmx", dir_fd=dev_fd)
        for target, path in _LINKS:
            if path == "/dev/core" and not os.path.exists("/proc/kcore"):
                continue
            try:
                os.symlink(target, path[5:], dir_fd=dev_fd)
            except FileExistsError:
                pass
    finally:
        os.close(dev_fd)


def _make(root_fd: int, dev_fd: int, node: dict[str, Any], *, bind: bool) -> None:
    path = node["path"]
    if path.startswith("/dev/") and "/" not in path[5:]:
        parent_fd, name = os.dup(dev_fd), path[5:]
    else:
        parent_fd, name = inroot.make_parent(root_fd, path)
    try:
        if bind:
            _bind_node(parent_fd, name, path)
            return
        try:
            _make_node(parent_fd, name, node)
        except FileExistsError:
            pass
        except PermissionError:
            _bind_node(parent_fd, name, path)
    finally:
        os.close(parent_fd)


def _make_node(parent_fd: int, name: str, node: dict[str, Any]) -> None:
    kind = _TYPES.get(node["type"])
    if kind is None:
        message = f"{node['type']} is not a valid device type for device {node['path']}"
        raise RuntimeFailure("invalid_argument", message, errno.EINVAL)
    mode = 0o666 if node.get("fileMode") is None else stat.S_IMODE(node["fileMode"])
    number = 0 if kind == stat.S_IFIFO else os.makedev(node["major"], node["minor"])
    os.mknod(name, kind | mode, number, dir_fd=parent_fd)
    fd = linux.openat2(parent_fd, name, flags=O_PATH | os.O_NOFOLLOW, resolve=RESOLVE_BENEATH)
    try:
        info = os.fstat(fd)
        if stat.S_IFMT(info.st_mode) != kind or info.st_rdev != number:
            raise RuntimeFailure("internal", f"new device inode {node['path']} was replaced by another one")
        # Through the descriptor: the umask has cut the mode, and the name may be anything by now.
        os.chmod(f"/proc/self/fd/{fd}", mode)
        if node.get("uid") or node.get("gid"):
            os.chown(f"/proc/self/fd/{fd}", node.get("uid") or 0, node.get("gid") or 0)
    finally:
        os.close(fd)


def _bind_node(parent_fd: int, name: str, host_path: str) -> None:
    source_fd = linux.open_tree(AT_FDCWD, host_path, OPEN_TREE_CLONE)
    try:
        target_fd = os.open(name, os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o000, dir_fd=parent_fd)
        try:
            linux.move_mount(source_fd, target_fd, target=host_path)
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


def reopen_null() -> None:
    """Let standard descriptors that are the host's /dev/null be the container's; called inside the new root."""
    null = os.makedev(1, 3)
    fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        info = os.fstat(fd)
        if not stat.S_ISCHR(info.st_mode) or info.st_rdev != null:
            raise RuntimeFailure("internal", "can't reopen /dev/null: container's /dev/null is invalid")
        for standard in range(3):
            info = os.fstat(standard)
            if stat.S_ISCHR(info.st_mode) and info.st_rdev == null:
                os.dup2(fd, standard)
    finally:
        os.close(fd)
