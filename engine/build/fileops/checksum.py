"""The digest of what a COPY or a bind mount takes: names, attributes and bytes, and no times.

Two selections with the same digest are copied to the same result, wherever they come from.
"""

from __future__ import annotations

import hashlib
import os
import stat

from ...snapshots.marks import is_kept
from . import trees
from .digests import Digests
from .selection import START, Selected, State, Walk, select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CHUNK = 1 << 18


def checksum(
    source: Sequence[str],
    paths: Sequence[str],
    exclude: Sequence[str],
    keeps_parents: bool,
    needs_match: bool,
    digests: str = "",
) -> str:
    """Return the digest; `digests` is where those of files are remembered. Raises Refused for what is not there."""
    with trees.reading(source) as root_fd:
        found = select(root_fd, paths, exclude=exclude, keeps_parents=keeps_parents, needs_match=needs_match)
        summing = _Sum(Digests(digests))
        for selected in found:
            summing.add(root_fd, selected)
        return summing.result()


class _Sum:
    def __init__(self, digests: Digests) -> None:
        self._digests = digests
        self._sum = hashlib.sha256()

    def result(self) -> str:
        self._digests.save()
        return f"sha256:{self._sum.hexdigest()}"

    def add(self, root_fd: int, selected: Selected) -> None:
        if selected.is_directory:
            fd = trees.open_directory(root_fd, selected.where)
            try:
                self._sum.update(self._told(fd, ".", "", selected.status, where=selected.where))
                for entry in self._entries(Walk(selected), fd, "", START, selected.where):
                    self._sum.update(entry)
            finally:
                os.close(fd)
        else:
            parent, _, base = selected.where.rpartition("/")
            fd = trees.open_directory(root_fd, parent)
            try:
                self._sum.update(self._told(fd, base, selected.name, selected.status, where=selected.where))
            finally:
                os.close(fd)

    def _entries(self, walk: Walk, directory_fd: int, prefix: str, state: State, where: str) -> list[bytes]:
        """Return what tells each member; that of a directory which was not asked for only with something in it."""
        told: list[bytes] = []
        for name, path, status, inner_state in walk.members(directory_fd, prefix, state):
            inner: list[bytes] = []
            if stat.S_ISDIR(status.st_mode):
                fd = os.open(name, trees.DIRECTORY | os.O_NOFOLLOW, dir_fd=directory_fd)
                try:
                    inner = self._entries(walk, fd, f"{path}/", inner_state, where)
                finally:
                    os.close(fd)
            if inner_state[2] or inner:
                told.append(self._told(directory_fd, name, path, status, where=f"{where}/{path}"))
                told += inner
        return told

    def _told(self, directory_fd: int, base: str, name: str, status: os.stat_result, *, where: str) -> bytes:
        """Return a digest of one file; each field is ended, so that no two files are told alike."""
        mode = status.st_mode
        device = status.st_rdev if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0
        member = hashlib.sha256(os.fsencode(f"{name}\0{mode:o} {status.st_uid} {status.st_gid} {device}\0"))
        if stat.S_ISLNK(mode):
            member.update(os.fsencode(os.readlink(base, dir_fd=directory_fd)))
        elif stat.S_ISREG(mode):
            content = self._digests.get(where, status)
            if not content:
                content = _content(directory_fd, base)
                self._digests.put(where, status, content)
            member.update(content.encode())
        return member.digest()


def _content(directory_fd: int, base: str) -> str:
    """Return the digest of a file's bytes and further attributes."""
    content = hashlib.sha256()
    fd = os.open(base, trees.FILE, dir_fd=directory_fd)
    try:
        for attribute, value in extended(fd):
            content.update(f"{attribute}\0{len(value)}\0".encode() + value)
        content.update(b"\0")
        while chunk := os.read(fd, _CHUNK):
            content.update(chunk)
    finally:
        os.close(fd)
    return content.hexdigest()


def extended(fd: int) -> list[tuple[str, bytes]]:
    """Return the attributes of a file that are copied with it."""
    try:
        names = os.listxattr(fd)
        return [(name, os.getxattr(fd, name)) for name in sorted(names) if is_kept(name)] if names else []
    except OSError:
        return []  # a file system without them
