"""Copying files from one tree into another: COPY and ADD, with BuildKit's rules of where things go.

The tree that is written to is an active snapshot nobody else has; its base is hostile all the same, so directories are
opened below the root and no link is followed but by the kernel, inside it.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat

from ...containers.fileworker import Refused
from ...runtime import inroot
from . import trees
from .checksum import extended
from .modes import Mode
from .ownership import lookup
from .selection import START, Selected, State, Walk, select
from .unpacking import unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SMALL = 1 << 16
_PIECE = 1 << 24
DIRECTORY_MODE = 0o755


def copy(
    target: Sequence[dict[str, Any]],
    source: Sequence[str],
    paths: Sequence[str],
    destination: str,
    owner: tuple[str, str] | None,
    owners: Sequence[str],
    mode: str,
    exclude: Sequence[str],
    keeps_parents: bool,
    unpacks: bool,
    needs_match: bool,
    created_at: int | None,
) -> None:
    """Copy into the snapshot whose mounts are `target`; `owners` is the tree whose users --chown names."""
    destination = trees.cleaned(destination)
    change = Change(ids_of(owner, owners), Mode(mode) if mode else None, created_at)
    with trees.reading(source) as source_fd, trees.writing(target) as target_fd:
        found = select(source_fd, paths, exclude=exclude, keeps_parents=keeps_parents, needs_match=needs_match)
        for selected in found:
            if unpacks and unpack(source_fd, selected, target_fd, destination, change):
                continue
            _copy_selected(source_fd, selected, target_fd, destination, change)


def fill(directory: str, source: Sequence[str], path: str) -> None:
    """Copy what is in a directory of a tree into one of the engine's own."""
    with trees.reading(source) as source_fd:
        target_fd = os.open(directory, trees.DIRECTORY)
        try:
            for selected in select(source_fd, [path], exclude=(), keeps_parents=False, needs_match=True):
                _copy_selected(source_fd, selected, target_fd, "/", Change(None, None, None))
        finally:
            os.close(target_fd)


class Change:
    """What becomes of each file's attributes on the way. `ids` None: owners stay; `time_s` None: times stay."""

    def __init__(self, ids: tuple[int, int] | None, mode: Mode | None, time_s: int | None) -> None:
        self.ids, self.mode, self.time_s = ids, mode, time_s

    @property
    def directory_mode(self) -> int:
        """The mode of directories that are made on the way to the destination."""
        return self.mode.octal if self.mode is not None and self.mode.octal is not None else DIRECTORY_MODE

    def make_directory(self, root_fd: int, path: str) -> int:
        """Return the descriptor of a directory that is made where it, or one above it, is missing."""
        made = _missing(root_fd, path)
        fd = reopened(inroot.make_directory(root_fd, path, self.directory_mode))
        inner = os.dup(fd)
        try:
            for _ in range(made):
                os.fchmod(inner, self.directory_mode)
                os.fchown(inner, *(self.ids or (0, 0)))
                if self.time_s is not None:
                    os.utime(inner, (self.time_s, self.time_s))
                outer = os.open("..", trees.DIRECTORY, dir_fd=inner)
                os.close(inner)
                inner = outer
        finally:
            os.close(inner)
        return fd

    def apply(self, fd: int, status: os.stat_result) -> None:
        """Give a new file or directory its attributes."""
        os.fchown(fd, *(self.ids or (status.st_uid, status.st_gid)))
        mode = status.st_mode
        os.fchmod(fd, self.mode.apply(mode) if self.mode is not None else stat.S_IMODE(mode))
        os.utime(fd, ns=self.times(status))

    def times(self, status: os.stat_result) -> tuple[int, int]:
        if self.time_s is not None:
            return self.time_s * 1_000_000_000, self.time_s * 1_000_000_000
        return status.st_atime_ns, status.st_mtime_ns


def reopened(path_fd: int) -> int:
    """Return a readable descriptor in place of one that only stands for a path."""
    try:
        return os.open(".", trees.DIRECTORY, dir_fd=path_fd)
    finally:
        os.close(path_fd)


def ids_of(owner: tuple[str, str] | None, owners: Sequence[str]) -> tuple[int, int] | None:
    if owner is None:
        return None
    with trees.reading(owners) as root_fd:
        return lookup(root_fd, *owner)


def _missing(root_fd: int, path: str) -> int:
    """Return how many of a path's directories are to be made."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for missing in range(len(parts)):
        try:
            os.close(inroot.open_path(root_fd, "/".join(parts[: len(parts) - missing])))
        except FileNotFoundError:
            continue
        return missing
    return len(parts)


def _copy_selected(source_fd: int, selected: Selected, target_fd: int, destination: str, change: Change) -> None:
    into_directory = destination.endswith(("/", "/.")) or destination == "."
    if selected.is_directory:
        inner_fd = trees.open_directory(source_fd, selected.where)
        try:
            _copy_directory(inner_fd, selected, target_fd, destination, change)
        finally:
            os.close(inner_fd)
        return
    if into_directory or is_directory(target_fd, destination):
        directory, name = destination, selected.name
    else:
        directory, name = posixpath.split(destination)
    parent, _, base = selected.where.rpartition("/")
    from_fd = trees.open_directory(source_fd, parent)
    to_fd = change.make_directory(target_fd, directory)
    try:
        Copier(change, to_fd).copy_member(from_fd, base, to_fd, name, name, selected.status)
    finally:
        os.close(to_fd)
        os.close(from_fd)


def _copy_directory(from_fd: int, selected: Selected, target_fd: int, destination: str, change: Change) -> None:
    """Copy what is in a directory; of its own attributes the destination gets the time alone, as in BuildKit."""
    try:
        to_fd = change.make_directory(target_fd, destination)
    except NotADirectoryError:
        raise Refused("invalid_argument", f"cannot copy to non-directory: {destination}") from None
    try:
        Copier(change, to_fd).copy_content(Walk(selected), from_fd, to_fd, "", START)
        os.utime(to_fd, ns=change.times(selected.status))
    finally:
        os.close(to_fd)


def is_directory(root_fd: int, path: str) -> bool:
    try:
        fd = inroot.open_path(root_fd, path or ".")
    except FileNotFoundError:
        return False
    try:
        return stat.S_ISDIR(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


class Copier:
    """Copies one selected directory or file; `root_fd` is what it becomes, or is put into."""

    def __init__(self, change: Change, root_fd: int) -> None:
        self._change, self._root_fd = change, root_fd
        self._names: dict[tuple[int, int], str] = {}

    def copy_content(self, walk: Walk, from_fd: int, to_fd: int, prefix: str, state: State) -> None:
        for name, path, status, inner_state in walk.members(from_fd, prefix, state):
            if stat.S_ISDIR(status.st_mode):
                self._copy_directory(walk, from_fd, to_fd, name, path, inner_state)
            else:
                self.copy_member(from_fd, name, to_fd, name, path, status)

    def _copy_directory(self, walk: Walk, from_fd: int, to_fd: int, name: str, path: str, state: State) -> None:
        """Copy a directory; one that was not asked for itself is made where something in it is copied."""
        source = os.open(name, trees.DIRECTORY | os.O_NOFOLLOW, dir_fd=from_fd)
        try:
            if not state[2] and not self._has_members(walk, source, path, state):
                return
            target = _opened_directory(to_fd, name, path)
            try:
                self.copy_content(walk, source, target, f"{path}/", state)
                _copy_extended(source, target)
                self._change.apply(target, os.fstat(source))
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _has_members(self, walk: Walk, fd: int, path: str, state: State) -> bool:
        for name, inner_path, _, inner in walk.members(fd, f"{path}/", state):
            if inner[2]:
                return True
            inner_fd = os.open(name, trees.DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            try:
                if self._has_members(walk, inner_fd, inner_path, inner):
                    return True
            finally:
                os.close(inner_fd)
        return False

    def copy_member(self, from_fd: int, base: str, to_fd: int, name: str, path: str, status: os.stat_result) -> None:
        """Copy what is no directory, in place of what is there; `path` is that below the root."""
        make_room(to_fd, name, path)
        if stat.S_ISREG(status.st_mode):
            if status.st_nlink > 1:
                first = self._names.setdefault((status.st_dev, status.st_ino), path)
                if first != path:
                    os.link(first, name, src_dir_fd=self._root_fd, dst_dir_fd=to_fd, follow_symlinks=False)
                    return
            self._copy_file(from_fd, base, to_fd, name)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(base, dir_fd=from_fd), name, dir_fd=to_fd)
            os.chown(name, *(self._change.ids or (status.st_uid, status.st_gid)), dir_fd=to_fd, follow_symlinks=False)
            os.utime(name, ns=self._change.times(status), dir_fd=to_fd, follow_symlinks=False)
        elif not stat.S_ISSOCK(status.st_mode):
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=to_fd)
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=to_fd)
            try:
                path_of_it = f"/proc/self/fd/{fd}"
                os.chown(path_of_it, *(self._change.ids or (status.st_uid, status.st_gid)))
                os.chmod(path_of_it, stat.S_IMODE(status.st_mode))
                os.utime(path_of_it, ns=self._change.times(status))
            finally:
                os.close(fd)

    def _copy_file(self, from_fd: int, base: str, to_fd: int, name: str) -> None:
        source = os.open(base, trees.FILE, dir_fd=from_fd)
        try:
            target = os.open(name, NEW, 0o600, dir_fd=to_fd)
            try:
                status = os.fstat(source)
                _copy_data(source, target, status.st_size)
                _copy_extended(source, target)
                self._change.apply(target, status)
            finally:
                os.close(target)
        finally:
            os.close(source)


def _copy_data(source: int, target: int, size: int) -> None:
    if size <= _SMALL:
        data = os.read(source, _SMALL)
        while data:
            data = data[os.write(target, data) :]
        return
    while os.sendfile(target, source, None, _PIECE):
        pass


def _copy_extended(source: int, target: int) -> None:
    for name, value in extended(source):
        try:
            os.setxattr(target, name, value)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise


def make_room(to_fd: int, name: str, path: str) -> None:
    try:
        os.unlink(name, dir_fd=to_fd)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise Refused("invalid_argument", f"cannot replace to directory {path} with file") from None


def _opened_directory(to_fd: int, name: str, path: str) -> int:
    try:
        os.mkdir(name, 0o700, dir_fd=to_fd)
    except FileExistsError:
        pass
    try:
        return os.open(name, trees.DIRECTORY | os.O_NOFOLLOW, dir_fd=to_fd)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise Refused("invalid_argument", f"cannot copy to non-directory: {path}") from None
        raise
