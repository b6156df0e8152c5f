"""A directory tree as a tar stream: what `docker cp`, `export` and `commit` read.

Runs in worker processes. The tree belongs to a container that may be changing it, with intent: everything is opened
below the descriptor of its parent, without following links, and looked at again once it is open. What vanishes while
it is read is left out.
"""

from __future__ import annotations

import errno
import os
import stat

from . import tar
from .layer import OPAQUE_MARKER, WHITEOUT_PREFIX
from .marks import FUSE_MARKS, is_kept, is_opaque, is_whiteout
from .tarwriter import TarWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MAX_DEPTH = 2048
"""As deep as a path of PATH_MAX bytes can be."""
_NODES = {stat.S_IFCHR: tar.CHAR, stat.S_IFBLK: tar.BLOCK_DEVICE, stat.S_IFIFO: tar.FIFO}
_WHITEOUT_MODE = 0o600


class Packer:
    """Writes trees and files to one archive; `is_layer` turns the marks of overlayfs into those of image layers."""

    def __init__(self, writer: TarWriter, *, is_layer: bool = False) -> None:
        self._writer = writer
        self._is_layer = is_layer
        self._seen: dict[tuple[int, int], bytes] = {}

    def add_tree(self, directory_fd: int, prefix: bytes, *, with_root: bool) -> None:
        """Add what is below a directory under names that begin with `prefix`, and the directory itself before it."""
        root_fd = os.open(".", _DIRECTORY, dir_fd=directory_fd)
        if with_root:
            self._add_directory(root_fd, prefix)
        levels = [(root_fd, prefix if prefix in (b"", b"/") else prefix + b"/", self._names(root_fd))]
        try:
            while levels:
                parent_fd, path, names = levels[-1]
                name = next(names, None)
                if name is None:
                    os.close(levels.pop()[0])
                    continue
                inner_fd = self.add(parent_fd, name, path + name)
                if inner_fd >= 0:
                    levels.append((inner_fd, path + name + b"/", self._names(inner_fd)))
                    if len(levels) > _MAX_DEPTH:
                        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path + name)
        finally:
            for fd, _, _ in levels:
                os.close(fd)

    def add(self, parent_fd: int, base: bytes, name: bytes) -> int:
        """Add one file as `name`; return the descriptor of a directory whose content is to be added, else -1."""
        try:
            status = os.stat(base, dir_fd=parent_fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                fd = os.open(base, _DIRECTORY, dir_fd=parent_fd)
                self._add_directory(fd, name)
                return fd
            if stat.S_ISREG(status.st_mode):
                self._add_file(parent_fd, base, name)
            elif stat.S_ISLNK(status.st_mode):
                link = os.readlink(base, dir_fd=parent_fd)
                if not self._add_again(name, status):
                    self._writer.add(name, status, kind=tar.SYMLINK, link=link)
            elif self._is_layer and is_whiteout(status):
                path, slash, last = name.rpartition(b"/")
                self._writer.add_empty(path + slash + WHITEOUT_PREFIX + last, _WHITEOUT_MODE, status)
            elif (kind := _NODES.get(stat.S_IFMT(status.st_mode))) is not None and not self._add_again(name, status):
                self._writer.add(name, status, kind=kind)
        except (FileNotFoundError, NotADirectoryError):
            pass  # it went away, or became something else, since its directory was read
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):  # a link or a socket came in its place
                raise
        return -1

    def _names(self, fd: int) -> Iterator[bytes]:
        names = set(os.listdir(fd)) - (FUSE_MARKS if self._is_layer else frozenset())
        return iter(sorted(map(os.fsencode, names)))

    def _add_directory(self, fd: int, name: bytes) -> None:
        status = os.fstat(fd)
        self._writer.add(name, status, kind=tar.DIRECTORY, xattrs=_xattrs(fd))
        if self._is_layer and is_opaque(fd):
            self._writer.add_empty(name + b"/" + OPAQUE_MARKER, stat.S_IMODE(status.st_mode) & 0o777, status)

    def _add_file(self, parent_fd: int, base: bytes, name: bytes) -> None:
        fd = os.open(base, _FILE, dir_fd=parent_fd)
        try:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode) and not self._add_again(name, status):
                self._writer.add(name, status, kind=tar.REGULAR, xattrs=_xattrs(fd), source_fd=fd)
        finally:
            os.close(fd)

    def _add_again(self, name: bytes, status: os.stat_result) -> bool:
        """Add a further name of a file that is in the archive as a hard link; tell whether it was one."""
        if status.st_nlink < 2:
            return False
        first = self._seen.setdefault((status.st_dev, status.st_ino), name)
        if first == name:
            return False
        self._writer.add(name, status, kind=tar.HARD_LINK, link=first)
        return True


def _xattrs(fd: int) -> list[tuple[str, bytes]]:
    """Return a file's capabilities and its users' own attributes; others are the host's business."""
    found = []
    try:
        for name in os.listxattr(fd):
            if is_kept(name):
                found.append((name, os.getxattr(fd, name)))
    except OSError:
        return []  # a file system without them
    return found
