"""Paths inside a container's root, resolved by the kernel.

A container's image and volumes are hostile: any component may be a link to somewhere else and may change while it is
looked at. Everything here works on descriptors opened by openat2(RESOLVE_IN_ROOT) and never joins strings to a path
on the host. Linux's /proc magic links are refused.
"""

from __future__ import annotations

import errno
import os
import stat

from . import linux
from .constants import O_PATH, RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS

_MAX_LINKS = 255
_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS


def open_path(root_fd: int, path: str) -> int:
    """Return an O_PATH descriptor of what `path` leads to inside the root."""
    return linux.openat2(root_fd, path, flags=O_PATH, resolve=_INSIDE)


def followed(root_fd: int, path: str) -> str:
    """Return where a path leads inside the root, relative to it and without links, as far as there is something."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    done: list[str] = []
    links = 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            done = done[:-1]
            continue
        try:
            link_fd = linux.openat2(root_fd, "/".join([*done, part]), flags=O_PATH | os.O_NOFOLLOW, resolve=_INSIDE)
            try:
                link = os.readlink("", dir_fd=link_fd)
            finally:
                os.close(link_fd)
        except OSError:
            done.append(part)  # no link, or nothing
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, "lstat: too many links", path)
        if link.startswith("/"):
            done = []
        parts = [step for step in link.split("/") if step not in ("", ".")] + parts
    return "/".join(done)


def make_directory(root_fd: int, path: str, mode: int = 0o755) -> int:
    """Return an O_PATH descriptor of the directory `path`, making what is missing of it.

    Links in the existing part are followed inside the root; what is made has none, and ".." in it is refused.
    """
    missing: list[str] = []
    parts = [part for part in path.split("/") if part not in ("", ".")]
    while True:
        try:
            fd = open_path(root_fd, "/".join(parts) or ".")
            break
        except FileNotFoundError:
            missing.append(parts.pop())
    try:
        for name in reversed(missing):
            if name == "..":
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            try:
                os.mkdir(name, mode, dir_fd=fd)
            except FileExistsError:
                pass  # a link to nothing, or someone was faster: the next open tells
            inner = linux.openat2(
                fd, name, flags=O_PATH | os.O_DIRECTORY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
            )
            os.close(fd)
            fd = inner
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_parent(root_fd: int, path: str) -> tuple[int, str]:
    """Make the directories above `path`; return the last one's descriptor and the remaining name."""
    parent, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return make_directory(root_fd, parent), name


def make_file(root_fd: int, path: str) -> int:
    """Make an empty file and return an O_PATH descriptor of it."""
    parent_fd, name = make_parent(root_fd, path)
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=parent_fd))
        return linux.openat2(parent_fd, name, flags=O_PATH | os.O_NOFOLLOW, resolve=RESOLVE_BENEATH)
    finally:
        os.close(parent_fd)


def symlink(root_fd: int, target: str, path: str) -> None:
    """Make a link unless something is there already."""
    parent_fd, name = make_parent(root_fd, path)
    try:
        os.symlink(target, name, dir_fd=parent_fd)
    except FileExistsError:
        pass
    finally:
        os.close(parent_fd)


def path_of(fd: int) -> str:
    """Return where a descriptor leads now, for checks and messages only."""
    return os.readlink(f"/proc/self/fd/{fd}")
