"""The trees that jobs read and write, by descriptors of their roots, and what a path means in them.

A tree is a stack of layer directories, or one directory. Its links are hostile: they lead nowhere outside, because the
kernel resolves all paths below the root's descriptor.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from contextlib import contextmanager

from ...containers import view
from ...containers.fileworker import Refused
from ...runtime import rootfs
from ...runtime.constants import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from ...runtime.linux import openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Sequence
    from typing import Any

INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WILDCARDS = frozenset("*?[")


@contextmanager
def reading(paths: Sequence[str]) -> Iterator[int]:
    """Open the root of a tree, its uppermost directory first in `paths`."""
    fd = view.merged(paths)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def writing(mounts: Sequence[dict[str, Any]]) -> Iterator[int]:
    """Open the root of an active snapshot; what is done to it ends up in the snapshot's own directory."""
    mount_fd = rootfs.open_mounts(mounts)[-1]
    try:
        fd = os.open(".", DIRECTORY, dir_fd=mount_fd)
    finally:
        os.close(mount_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def resolve(root_fd: int, path: str) -> tuple[str, os.stat_result]:
    """Return where a path leads inside the root ("" for the root itself), and what is there."""
    try:
        fd = openat2(root_fd, absolute(path), flags=os.O_PATH | os.O_CLOEXEC, resolve=INSIDE)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise missing(path) from None
        raise
    try:
        where = os.readlink(f"/proc/self/fd/{fd}")
        root = os.readlink(f"/proc/self/fd/{root_fd}")
        return where[len(root) :].strip("/") if root != "/" else where.strip("/"), os.fstat(fd)
    finally:
        os.close(fd)


def absolute(path: str) -> str:
    """Return a path from the root on, cleaned."""
    return posixpath.normpath("/" + path.lstrip("/"))


def cleaned(path: str) -> str:
    """Do so, and keep what a path's end says: `/` that it is a directory."""
    clean = absolute(path)
    return f"{clean}/" if path.endswith(("/", "/.")) and clean != "/" else clean


def missing(path: str) -> Refused:
    return Refused("not_found", f'"{absolute(path)}": not found')


def open_directory(root_fd: int, path: str) -> int:
    """Open a resolved directory."""
    return openat2(root_fd, path or ".", flags=DIRECTORY, resolve=INSIDE)


def has_wildcards(path: str) -> bool:
    return not _WILDCARDS.isdisjoint(path)


def expand(root_fd: int, path: str) -> list[str]:
    """Return the paths that one with wildcards stands for, sorted; a wildcard stops at slashes and passes no link."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    first = next((number for number, part in enumerate(parts) if has_wildcards(part)), len(parts))
    if first == len(parts):
        return [path]
    base = "/".join(parts[:first])
    try:
        where, status = resolve(root_fd, base)
    except Refused:
        return []
    if not stat.S_ISDIR(status.st_mode):
        return []
    found = _matching(root_fd, where, [_component(part) for part in parts[first:]])
    return [posixpath.join(base, inner) for inner in found]


def _component(part: str) -> re.Pattern[str]:
    import re

    from ..patterns import regex_of

    try:
        return re.compile(regex_of(re.sub(r"\*+", "*", part)) + r"\Z", re.DOTALL)
    except re.error:
        raise Refused("invalid_argument", f'invalid pattern "{part}": syntax error in pattern') from None


def _matching(root_fd: int, directory: str, patterns: list[re.Pattern[str]]) -> list[str]:
    try:
        fd = openat2(root_fd, directory or ".", flags=DIRECTORY, resolve=INSIDE | RESOLVE_NO_SYMLINKS)
    except NotADirectoryError:
        return []
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return []
    try:
        names = sorted(name for name in os.listdir(fd) if patterns[0].match(name))
    finally:
        os.close(fd)
    if len(patterns) == 1:
        return names
    return [
        posixpath.join(name, inner)
        for name in names
        for inner in _matching(root_fd, posixpath.join(directory, name), patterns[1:])
    ]
