"""Mount points that the runtime had to make for a command's mounts: they are no part of what the command changed."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from ...runtime import inroot
from ...snapshots.marks import FUSE_MARKS
from . import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def clean(upper: str, lower: Sequence[str], targets: Sequence[str]) -> None:
    """Remove those of the targets, and of the directories above them, that are new and empty."""
    upper_fd = os.open(upper, trees.DIRECTORY)
    try:
        with trees.reading(lower) as lower_fd:
            for target in sorted(targets, key=len, reverse=True):
                parts = [part for part in target.split("/") if part not in ("", ".", "..")]
                while parts and not _exists(lower_fd, "/".join(parts)) and _removed(upper_fd, parts):
                    parts.pop()
    finally:
        os.close(upper_fd)


def _exists(root_fd: int, path: str) -> bool:
    try:
        os.close(inroot.open_path(root_fd, path))
    except OSError:
        return False
    return True


def _removed(upper_fd: int, parts: list[str]) -> bool:
    """Remove an empty file or directory, and leave no trace of that in the directory's time."""
    fd = os.dup(upper_fd)
    try:
        for part in parts[:-1]:
            inner = os.open(part, trees.DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = inner
        above = os.fstat(fd)
        status = os.stat(parts[-1], dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            for mark in FUSE_MARKS:
                with suppress(FileNotFoundError):
                    os.unlink(f"{parts[-1]}/{mark}", dir_fd=fd)
            os.rmdir(parts[-1], dir_fd=fd)
        elif stat.S_ISREG(status.st_mode) and not status.st_size:
            os.unlink(parts[-1], dir_fd=fd)
        else:
            return False
        os.utime(fd, ns=(above.st_atime_ns, above.st_mtime_ns))
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
