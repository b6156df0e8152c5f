"""A stack of layer directories, read as the one tree that they make where nothing mounts them.

What an overlay does in the kernel, for the storage driver vfs. Directories come uppermost first, as in an overlay's
`lower`. They are committed layers: nobody changes them meanwhile.
"""

from __future__ import annotations

import os
import stat

from .marks import is_opaque, is_whiteout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Entry:
    """A file of the tree: where it is, and, of a directory, those of all layers: what `children` takes."""

    __slots__ = ("directories", "path", "status")

    def __init__(self, path: str, status: os.stat_result) -> None:
        self.path, self.status = path, status
        self.directories = [path] if stat.S_ISDIR(status.st_mode) else []


def children(directories: Sequence[str]) -> dict[str, Entry]:
    """Return what is in a directory that is made of these."""
    found: dict[str, Entry] = {}
    settled: set[str] = set()
    for directory in directories:
        with os.scandir(directory) as files:
            for file in files:
                if file.name not in settled and _settles(found, file):
                    settled.add(file.name)
        if is_opaque(directory):
            break
    return found


def _settles(found: dict[str, Entry], file: os.DirEntry[str]) -> bool:
    """Take a file of one layer into account; return whether those of its name further down no longer matter."""
    status = file.stat(follow_symlinks=False)
    known = found.get(file.name)
    if known is None and not is_whiteout(status):
        found[file.name] = Entry(file.path, status)
    elif known is not None and stat.S_ISDIR(status.st_mode):
        known.directories.append(file.path)
    return not stat.S_ISDIR(status.st_mode)
