"""What was changed in a copy of a tree that layers make: the storage driver vfs has it nowhere but in the comparison.

A change is what dockerd calls one (go-archive's `ChangesDirs`): kind, owner, mode, size, time or attributes differ; a
directory's time follows its content and does not count. The copy belongs to a container that may be changing it, with
intent: everything is reached by descriptors of its parents, without following links.
"""

from __future__ import annotations

import os
import stat

from .flatten import DIRECTORY, copy_attributes, copy_content
from .marks import is_kept, is_whiteout, make_whiteout
from .stack import Entry, children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Change = tuple[str, int]

MODIFIED, ADDED, DELETED = 0, 1, 2


class Difference:
    """`changes` has each directory before what is in it; `size` is that of the changed files, each inode once."""

    def __init__(self, tree: str, layers: Sequence[str], output: str | None = None) -> None:
        """Compare; with an `output`, an empty directory, make that a layer of what was changed.

        Files in it are further names of the tree's own: it is for one who reads it at once, or drops the tree.
        """
        self.changes: list[Change] = []
        self.size = 0
        self._seen: set[int] = set()
        tree_fd = os.open(tree, DIRECTORY)
        try:
            output_fd = os.open(output, DIRECTORY) if output is not None else -1
            try:
                self._directory(tree_fd, layers, "", output_fd)
            finally:
                if output_fd >= 0:
                    os.close(output_fd)
        finally:
            os.close(tree_fd)

    def _directory(self, tree_fd: int, below: Sequence[str], path: str, output_fd: int) -> None:
        known = children(below)
        for name in sorted({*known, *os.listdir(tree_fd)}):
            status, entry = _lstat(tree_fd, name), known.get(name)
            if status is not None:
                self._entry(tree_fd, name, status, entry, f"{path}/{name}", output_fd)
            elif entry is not None:
                self.changes.append((f"{path}/{name}", DELETED))
                if output_fd >= 0:
                    make_whiteout(os.fsencode(name), output_fd)

    def _entry(
        self, tree_fd: int, name: str, status: os.stat_result, entry: Entry | None, path: str, output_fd: int
    ) -> None:
        own = len(self.changes)
        place = f"/proc/self/fd/{tree_fd}/{name}"
        try:
            if entry is None:
                self.changes.append((path, ADDED))
            elif is_changed(status, entry.status) or _attributes(place) != _attributes(entry.path):
                self.changes.append((path, MODIFIED))
            if stat.S_ISDIR(status.st_mode):
                self._inner(tree_fd, name, status, entry, path, output_fd, own)
                return
            is_changed_here = len(self.changes) > own
            if is_changed_here and (status.st_nlink < 2 or status.st_ino not in self._seen):
                self._seen.add(status.st_ino)
                self.size += status.st_size
            # A file that got a further name is as it was, but has to be in the layer for the names to stay one file
            if output_fd >= 0 and (is_changed_here or (entry and status.st_nlink > entry.status.st_nlink)):
                _put(tree_fd, name, status, output_fd)
        except (FileNotFoundError, NotADirectoryError):
            del self.changes[own:]  # the container has just taken it away

    def _inner(
        self, tree_fd: int, name: str, status: os.stat_result, entry: Entry | None, path: str, output_fd: int, own: int
    ) -> None:
        """Compare what is in a directory; it changed where something in it did. `own` is where its changes begin."""
        is_noted = len(self.changes) > own
        inner_fd, made_fd = os.open(name, DIRECTORY, dir_fd=tree_fd), -1
        try:
            if output_fd >= 0:
                os.mkdir(name, dir_fd=output_fd)
                made_fd = os.open(name, DIRECTORY, dir_fd=output_fd)
            self._directory(inner_fd, entry.directories if entry else (), path, made_fd)
            if not is_noted and len(self.changes) > own:
                self.changes.insert(own, (path, MODIFIED))
            if made_fd >= 0 and len(self.changes) == own and not os.listdir(made_fd):
                os.rmdir(name, dir_fd=output_fd)
            elif made_fd >= 0:
                copy_attributes(f"/proc/self/fd/{inner_fd}/.", status, name, output_fd)
        finally:
            os.close(inner_fd)
            if made_fd >= 0:
                os.close(made_fd)


def _put(tree_fd: int, name: str, status: os.stat_result, output_fd: int) -> None:
    """Put a file into the layer, by a link where that is allowed (it is not for immutable files)."""
    try:
        os.link(name, name, src_dir_fd=tree_fd, dst_dir_fd=output_fd, follow_symlinks=False)
    except PermissionError:
        source = f"/proc/self/fd/{tree_fd}/{name}"
        copy_content(source, status, name, output_fd)
        copy_attributes(source, status, name, output_fd)


def is_changed(status: os.stat_result, below: os.stat_result) -> bool:
    """Compare what people set, not what copying a file up changes; size and time of a directory follow its content."""
    if (status.st_mode, status.st_uid, status.st_gid, status.st_rdev) != (
        below.st_mode,
        below.st_uid,
        below.st_gid,
        below.st_rdev,
    ):
        return True
    return not stat.S_ISDIR(status.st_mode) and (
        status.st_size != below.st_size or not _is_same_time(status.st_mtime_ns, below.st_mtime_ns)
    )


def _is_same_time(one_ns: int, other_ns: int) -> bool:
    """Layers that came as archives may know whole seconds alone."""
    (seconds, rest), (other_seconds, other_rest) = divmod(one_ns, 1_000_000_000), divmod(other_ns, 1_000_000_000)
    return seconds == other_seconds and (rest == other_rest or not (rest and other_rest))


def _lstat(directory_fd: int, name: str) -> os.stat_result | None:
    """Return what is there; an overlay shows nobody a device that is a whiteout, so none counts here."""
    try:
        status = os.lstat(name, dir_fd=directory_fd)
    except FileNotFoundError:
        return None
    return None if is_whiteout(status) else status


def _attributes(path: str) -> list[tuple[str, bytes]]:
    return [
        (key, os.getxattr(path, key, follow_symlinks=False))
        for key in sorted(os.listxattr(path, follow_symlinks=False))
        if is_kept(key)
    ]
