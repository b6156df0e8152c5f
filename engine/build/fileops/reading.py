"""Looking into a result: what a frontend and BuildKit's gateway ask of it."""

from __future__ import annotations

import base64
import os
import posixpath
import stat

from ...containers.fileworker import Refused, go_mode
from ...runtime.linux import openat2
from . import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_MAX_BYTES = 16 << 20


def read(source: Sequence[str], path: str, offset: int, length: int | None) -> str:
    """Return (a part of) a file, in base64."""
    with trees.reading(source) as root_fd:
        where, status = trees.resolve(root_fd, path)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("invalid_argument", f"read {path}: is not a regular file")
        with open(openat2(root_fd, where, flags=trees.FILE, resolve=trees.INSIDE), "rb", buffering=0) as file:
            file.seek(offset)
            limit = _MAX_BYTES if length is None else min(length, _MAX_BYTES)
            data = bytearray()
            while len(data) < limit and (chunk := file.read(limit - len(data))):
                data += chunk
    return base64.b64encode(data).decode()


def describe(source: Sequence[str], path: str) -> dict[str, Any]:
    """Return what is at a path, links followed up to the last name."""
    directory, base = posixpath.split(trees.absolute(path))
    with trees.reading(source) as root_fd:
        where, _ = trees.resolve(root_fd, directory)
        fd = trees.open_directory(root_fd, where)
        try:
            return _described(fd, base or ".")
        except FileNotFoundError:
            raise trees.missing(path) from None
        finally:
            os.close(fd)


def kind(source: Sequence[str], path: str) -> str:
    """Return what a path leads to in the end: directory, file, or nothing."""
    with trees.reading(source) as root_fd:
        try:
            _, status = trees.resolve(root_fd, path)
        except Refused:
            return ""
        return "directory" if stat.S_ISDIR(status.st_mode) else "file"


def list_directory(source: Sequence[str], path: str, pattern: str) -> list[dict[str, Any]]:
    """Return what is in a directory, by name."""
    from ..patterns import Patterns

    wanted = Patterns([pattern]) if pattern else None
    with trees.reading(source) as root_fd:
        where, status = trees.resolve(root_fd, path)
        if not stat.S_ISDIR(status.st_mode):
            raise Refused("invalid_argument", f"{path}: not a directory")
        fd = trees.open_directory(root_fd, where)
        try:
            names = sorted(os.listdir(fd))
            return [_described(fd, name) for name in names if wanted is None or wanted.matches(name)]
        finally:
            os.close(fd)


def _described(directory_fd: int, name: str) -> dict[str, Any]:
    status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    return {
        "path": "/" if name == "." else name,
        "mode": go_mode(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "size": status.st_size if stat.S_ISREG(status.st_mode) else 0,
        "mtime_ns": status.st_mtime_ns,
        "link": os.readlink(name, dir_fd=directory_fd) if stat.S_ISLNK(status.st_mode) else "",
        "device_major": os.major(status.st_rdev) if is_device else 0,
        "device_minor": os.minor(status.st_rdev) if is_device else 0,
    }
