"""Copying the tree that layers make into one directory: what a container's root is with the storage driver vfs.

Everything goes with it: owners, modes, times, attributes, devices, names of one file. Where the file system can share
blocks between files (btrfs, xfs), copy_file_range(2) does so, and nothing is written twice.
"""

from __future__ import annotations

import errno
import os
import stat

from .marks import OVERLAY_XATTRS
from .stack import Entry, children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 30
_CANNOT_SHARE = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF)


def flatten(layers: Sequence[str], target: str) -> None:
    """Copy what the layer directories make, the uppermost first, into the empty directory `target`."""
    target_fd = os.open(target, DIRECTORY)
    try:
        _Copy(target_fd).directory(layers, target_fd, "")
    finally:
        os.close(target_fd)


class _Copy:
    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._names: dict[tuple[int, int], str] = {}

    def directory(self, directories: Sequence[str], target_fd: int, path: str) -> None:
        for name, entry in children(directories).items():
            self._entry(name, entry, target_fd, f"{path}{name}")

    def _entry(self, name: str, entry: Entry, target_fd: int, path: str) -> None:
        status = entry.status
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=target_fd)
            inner_fd = os.open(name, DIRECTORY, dir_fd=target_fd)
            try:
                self.directory(entry.directories, inner_fd, f"{path}/")
            finally:
                os.close(inner_fd)
        elif status.st_nlink > 1 and (first := self._names.setdefault((status.st_dev, status.st_ino), path)) != path:
            os.link(first, name, src_dir_fd=self._root_fd, dst_dir_fd=target_fd, follow_symlinks=False)
            return
        else:
            copy_content(entry.path, status, name, target_fd)
        copy_attributes(entry.path, status, name, target_fd)


def copy_content(source: str, status: os.stat_result, name: str, target_fd: int) -> None:
    """Make a file, no directory, of the same kind and content as `source`, whose last part is not followed."""
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), name, dir_fd=target_fd)
    elif stat.S_ISREG(status.st_mode):
        reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target_fd)
            try:
                _copy_bytes(reader, writer)
            finally:
                os.close(writer)
        finally:
            os.close(reader)
    else:
        os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target_fd)


def copy_attributes(source: str, status: os.stat_result, name: str, target_fd: int) -> None:
    """Give a file what a copy of the content leaves out; in this order, as a new owner takes attributes away."""
    os.chown(name, status.st_uid, status.st_gid, dir_fd=target_fd, follow_symlinks=False)
    target = f"/proc/self/fd/{target_fd}/{name}"
    for key in os.listxattr(source, follow_symlinks=False):
        if not key.startswith(OVERLAY_XATTRS):
            os.setxattr(target, key, os.getxattr(source, key, follow_symlinks=False), follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target_fd)
    os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target_fd, follow_symlinks=False)


def _copy_bytes(reader: int, writer: int) -> None:
    try:
        while os.copy_file_range(reader, writer, _CHUNK):
            pass
    except OSError as error:
        if error.errno not in _CANNOT_SHARE:
            raise
        while os.sendfile(writer, reader, None, _CHUNK):
            pass
