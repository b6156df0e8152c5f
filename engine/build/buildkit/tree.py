"""A directory that is made to be what a client tells of, file by file. Blocking; `filesync` calls it from threads.

Nothing that a client sends can reach outside: paths come in order, each in a directory that was told of before, and
what stands in the place of such a directory is removed first. Files are replaced, never written in place, because
results of earlier builds may share them.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import InvalidArgument
from .modes import from_go
from .protocol.session_pb2 import Stat


@dataclass(slots=True)
class _Open:
    fd: int
    told: Stat


class Tree:
    """The directory while it is received. Call `prepare`, `write`, `close`, `finish` in this order."""

    def __init__(self, directory: Path) -> None:
        self._root = str(directory)
        self._open: dict[int, _Open] = {}
        self._missing: dict[int, Stat] = {}
        self._links: list[Stat] = []
        self._directories: list[Stat] = []

    @property
    def wanted(self) -> int:
        """How many files' contents are to come yet."""
        return len(self._missing)

    def prepare(self, stats: Sequence[Stat]) -> list[int]:
        """Make directories and what has no content, remove what the client has not; return the ids of what to get."""
        _check(stats)
        self._remove_others({told.path for told in stats})
        for id, told in enumerate(stats):
            self._place(id, told)
        return list(self._missing)

    def _remove_others(self, paths: set[str]) -> None:
        pending = [""]
        while pending:
            parent = pending.pop()
            with os.scandir(os.path.join(self._root, parent)) as entries:
                for entry in list(entries):
                    path = os.path.join(parent, entry.name)
                    if path not in paths:
                        _remove(entry.path)
                    elif entry.is_dir(follow_symlinks=False):
                        pending.append(path)

    def _place(self, id: int, told: Stat) -> None:
        path, mode = self._path(told), from_go(told.mode)
        present = _lstat(path)
        if present is not None and stat.S_ISDIR(mode) != stat.S_ISDIR(present.st_mode):
            _remove(path)
            present = None
        if stat.S_ISDIR(mode):
            self._directories.append(told)
            if present is None:
                os.mkdir(path, 0o700)
        elif told.linkname and not stat.S_ISLNK(mode):
            self._links.append(told)
        elif present is not None and _is_same(path, present, told, mode):
            return
        elif stat.S_ISREG(mode):
            self._missing[id] = told
            _remove(path)
        else:
            _remove(path)
            _make(path, told, mode)

    def write(self, pieces: Iterable[tuple[int, bytes]]) -> None:
        """Write pieces of files; an empty one is a file's end."""
        for id, data in pieces:
            opened = self._open.get(id)
            if opened is None:
                told = self._missing.get(id)
                if told is None:
                    raise InvalidArgument(f"invalid file request {id}")
                opened = self._open[id] = _Open(_create(self._path(told)), told)
            if data:
                _write_all(opened.fd, data)
            else:
                del self._open[id], self._missing[id]
                try:
                    _describe(opened.fd, opened.told)
                finally:
                    os.close(opened.fd)

    def close(self) -> None:
        """Let go of files that never ended."""
        for opened in self._open.values():
            os.close(opened.fd)
        self._open.clear()

    def finish(self) -> None:
        """Make hard links, whose targets are whole now, and say of directories what was told, the deepest first."""
        for told in self._links:
            path = self._path(told)
            _remove(path)
            os.link(os.path.join(self._root, told.linkname), path, follow_symlinks=False)
        for told in reversed(self._directories):
            fd = os.open(self._path(told), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                _describe(fd, told)
            finally:
                os.close(fd)

    def _path(self, told: Stat) -> str:
        return os.path.join(self._root, told.path)


def _check(stats: Sequence[Stat]) -> None:
    """Refuse what an honest client never sends: paths out of order or out of the directory, links to the unknown."""
    directories, files, last = {""}, set[str](), tuple[str, ...]()
    for told in stats:
        parts = tuple(told.path.split("/"))
        if any(part in ("", ".", "..") for part in parts) or "\0" in told.path:
            raise InvalidArgument(f"invalid path in the client's files: {told.path!r}")
        if parts <= last or "/".join(parts[:-1]) not in directories:
            raise InvalidArgument(f'changes out of order: "{told.path}" "{"/".join(last)}"')
        last, mode = parts, from_go(told.mode)
        if stat.S_ISDIR(mode):
            directories.add(told.path)
        elif mode == 0:
            raise InvalidArgument(f"invalid mode of {told.path!r} in the client's files")
        elif stat.S_ISLNK(mode):
            continue
        elif told.linkname and told.linkname not in files:
            raise InvalidArgument(f'invalid link {told.path} to unknown path: "{told.linkname}"')
        else:
            files.add(told.path)


def _is_same(path: str, present: os.stat_result, told: Stat, mode: int) -> bool:
    if (present.st_mode, present.st_uid, present.st_gid) != (mode, told.uid, told.gid):
        return False
    if stat.S_ISLNK(mode):
        return os.readlink(path) == told.linkname
    if stat.S_ISREG(mode):
        return (present.st_size, present.st_mtime_ns) == (told.size, told.modified_ns) and _xattrs(path) == dict(
            told.xattrs
        )
    return present.st_rdev == os.makedev(told.device_major, told.device_minor)


def _make(path: str, told: Stat, mode: int) -> None:
    if stat.S_ISLNK(mode):
        os.symlink(told.linkname, path)
    else:
        os.mknod(path, mode, os.makedev(told.device_major, told.device_minor))
        os.chmod(path, stat.S_IMODE(mode))
    os.lchown(path, told.uid, told.gid)
    os.utime(path, ns=(told.modified_ns, told.modified_ns), follow_symlinks=False)


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)


def _write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    while written < len(data):
        written += os.write(fd, data[written:])


def _describe(fd: int, told: Stat) -> None:
    for name, value in told.xattrs.items():
        try:
            os.setxattr(fd, name, value)
        except OSError:
            continue  # as fsutil: not every file system has them
    os.chown(fd, told.uid, told.gid)
    os.chmod(fd, stat.S_IMODE(from_go(told.mode)))
    os.utime(fd, ns=(told.modified_ns, told.modified_ns))


def _xattrs(path: str) -> dict[str, bytes]:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _remove(path: str) -> None:
    present = _lstat(path)
    if present is None:
        return
    if stat.S_ISDIR(present.st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)
