"""Unpacking one layer's tar stream straight into an overlay layer directory.

The worker processes call `apply`. Whiteouts and opaque directories become overlayfs's own (`marks.py`), so the
directory can be a lower layer as it is. Everything is created by `*at` calls below the directory's
own descriptor; parents are resolved by `openat2(RESOLVE_IN_ROOT)`, so that neither `..` nor a symbolic link of the
layer leads out of it. What a layer directory is called, and when it counts as whole, is the snapshotter's business.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable

from ..runtime.constants import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from ..runtime.linux import openat2
from . import tar
from .marks import OVERLAY_XATTRS, is_whiteout, make_opaque, make_whiteout
from .tar import Entry, TarError, TarReader

WHITEOUT_PREFIX = b".wh."
OPAQUE_MARKER = b".wh..wh..opq"
AUFS_PREFIX = b".wh..wh."
_NODE_TYPES = {tar.CHAR: stat.S_IFCHR, tar.BLOCK_DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}
_OPEN_DIRECTORIES = 128
_MAX_LINKS = 40
_IMPLIED_MODE = 0o755
_MAX_TIME_NS = 1 << 63
_MAX_ID = (1 << 32) - 2


def apply(archive: TarReader, directory: str) -> int:
    """Unpack a whole layer into the empty `directory`; return the size of its files.

    Raises TarError for a stream that is no layer (also for one that tries to write elsewhere) and OSError where the
    file system refuses.
    """
    with Unpacker(archive, directory) as unpacker:
        while (entry := archive.next()) is not None:
            unpacker.add(entry)
        return unpacker.finish()


class Unpacker:
    """Makes the members of an archive below a directory; `extract.Extractor` is one for `docker cp`."""

    def __init__(self, archive: TarReader, directory: str) -> None:
        self._archive = archive
        self._directory = directory
        self._root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: dict[bytes, int] = {b"": self._root}
        self._times: dict[bytes, tuple[int, int]] = {}
        self._size = 0
        self._has_replaced = self._is_stale = False

    def __enter__(self) -> Unpacker:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_directories()
        os.close(self._root)

    def add(self, entry: Entry) -> None:
        if entry.kind == tar.PAX_GLOBAL:
            return
        self._let_go_of_directories()
        check_owner_and_device(entry)
        parts = clean_name(entry.name)
        if not parts or parts[0].startswith(AUFS_PREFIX) and parts[0] != OPAQUE_MARKER:
            return
        base = parts.pop()
        parent = self._parent(parts)
        if base.startswith(WHITEOUT_PREFIX):
            self._white_out(parent, base, entry)
            return
        if entry.kind == tar.DIRECTORY:
            self._times[b"/".join([*parts, base])] = times_of(entry)
        self._make_entry(parent, base, entry)

    def _make_entry(self, parent: int, base: bytes, entry: Entry) -> None:
        kind = entry.kind
        if kind == tar.REGULAR:
            self._add_file(parent, base, entry)
        elif kind == tar.DIRECTORY:
            self._add_directory(parent, base, entry)
        elif kind == tar.SYMLINK:
            self._create(parent, base, lambda: os.symlink(entry.link, base, dir_fd=parent))
            self._size += len(entry.link)
            self._set_attributes(parent, base, entry, is_link=True)
        elif kind == tar.HARD_LINK:
            self._add_link(parent, base, entry)
        elif kind in _NODE_TYPES:
            self._add_node(parent, base, entry)
        else:
            raise TarError(f"unhandled tar header type {kind[0]}")

    def finish(self) -> int:
        """Return the layer's size, with everything done."""
        self._set_directory_times()
        return tree_size(self._directory) if self._has_replaced else self._size

    def _set_directory_times(self) -> None:
        """Last of all: each file made inside a directory changed them."""
        for path, times in self._times.items():
            try:
                fd = self._resolve(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                os.utime(fd, ns=times)
            finally:
                os.close(fd)

    def _add_file(self, parent: int, base: bytes, entry: Entry) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(base, flags, entry.mode & 0o777, dir_fd=parent)
        except FileExistsError:
            self._remove(parent, base)
            fd = os.open(base, flags, entry.mode & 0o777, dir_fd=parent)
        try:
            if entry.size:
                self._archive.copy_to(fd, entry)
            os.fchown(fd, entry.uid, entry.gid)
            if entry.mode & 0o7000:
                os.fchmod(fd, entry.mode)
            for name, value in entry.xattrs:
                set_xattr(fd, name, value)
            os.utime(fd, ns=times_of(entry))
        finally:
            os.close(fd)
        self._size += entry.size

    def _add_directory(self, parent: int, base: bytes, entry: Entry) -> None:
        try:
            os.mkdir(base, dir_fd=parent)
        except FileExistsError:
            there = os.lstat(base, dir_fd=parent)
            if not stat.S_ISDIR(there.st_mode):
                self._remove(parent, base)
                os.mkdir(base, dir_fd=parent)
                if is_whiteout(there):
                    # The layer removed what was below and made it anew: nothing from below may show through.
                    make_opaque(_path(parent, base))
        self._set_attributes(parent, base, entry)

    def _add_link(self, parent: int, base: bytes, entry: Entry) -> None:
        target = clean_name(entry.link, what="hardlink target")
        if not target:
            raise TarError(f'invalid hardlink target "{_shown(entry.link)}"')
        target_base = target.pop()
        target_parent = self._parent(target)
        self._create(
            parent,
            base,
            lambda: os.link(target_base, base, src_dir_fd=target_parent, dst_dir_fd=parent, follow_symlinks=False),
        )
        is_link = stat.S_ISLNK(os.lstat(base, dir_fd=parent).st_mode)
        self._set_attributes(parent, base, entry, is_link=is_link)

    def _add_node(self, parent: int, base: bytes, entry: Entry) -> None:
        file_type = _NODE_TYPES[entry.kind]
        device = os.makedev(entry.major, entry.minor)
        self._create(parent, base, lambda: os.mknod(base, file_type | entry.mode, device, dir_fd=parent))
        self._set_attributes(parent, base, entry)

    def _white_out(self, parent: int, base: bytes, entry: Entry) -> None:
        if base == OPAQUE_MARKER:
            make_opaque(parent)
            return
        if base.startswith(AUFS_PREFIX):
            return
        hidden = base[len(WHITEOUT_PREFIX) :]
        if hidden in (b"", b".", b".."):
            raise TarError(f'invalid whiteout entry "{_shown(entry.name)}"')
        try:
            make_whiteout(hidden, parent)
        except FileExistsError:
            # The same layer has made it anew; a directory of its own must still hide the one below.
            if stat.S_ISDIR(os.lstat(hidden, dir_fd=parent).st_mode):
                make_opaque(_path(parent, hidden))

    def _set_attributes(self, parent: int, base: bytes, entry: Entry, *, is_link: bool = False) -> None:
        os.chown(base, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        for name, value in entry.xattrs:
            set_xattr(_path(parent, base), name, value)
        if not is_link:
            # After chown, which clears setuid; what is here was made above or is no link, so nothing is followed.
            os.chmod(base, entry.mode, dir_fd=parent)
        os.utime(base, ns=times_of(entry), dir_fd=parent, follow_symlinks=False)

    def _create(self, parent: int, base: bytes, create: Callable[[], None]) -> None:
        try:
            create()
        except FileExistsError:
            self._remove(parent, base)
            create()

    def _remove(self, parent: int, base: bytes) -> None:
        """Remove what an earlier member of the same layer made under this name."""
        self._has_replaced = self._is_stale = True
        if stat.S_ISDIR(os.lstat(base, dir_fd=parent).st_mode):
            shutil.rmtree(os.fsdecode(base), dir_fd=parent)
        else:
            os.unlink(base, dir_fd=parent)

    def _parent(self, parts: list[bytes]) -> int:
        """Return the descriptor of a directory, made where it is missing. It stays the cache's own."""
        path = b"/".join(parts)
        fd = self._open.get(path)
        if fd is None:
            try:
                fd = self._resolve(path)
            except FileNotFoundError:
                fd = self._make(parts, _MAX_LINKS)
            self._open[path] = fd
        return fd

    def _make(self, parts: list[bytes], links_left: int) -> int:
        """Make the missing directories of a path, also behind symbolic links whose target is not there yet."""
        if not links_left:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), b"/".join(parts))
        fd = os.dup(self._root)
        try:
            for end in range(1, len(parts) + 1):
                path = b"/".join(parts[:end])
                try:
                    found = self._resolve(path)
                except FileNotFoundError:
                    try:
                        os.mkdir(parts[end - 1], _IMPLIED_MODE, dir_fd=fd)
                    except FileExistsError:
                        os.close(self._make(self._link_target(fd, parts[end - 1]), links_left - 1))
                    found = self._resolve(path)
                os.close(fd)
                fd = found
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _link_target(self, parent: int, base: bytes) -> list[bytes]:
        """Return where a symbolic link points, from the layer's root, which it cannot leave."""
        target = os.readlink(base, dir_fd=parent)
        root = os.readlink(b"/proc/self/fd/%d" % self._root)
        start = b"" if target.startswith(b"/") else os.readlink(b"/proc/self/fd/%d" % parent)[len(root) :]
        return [part for part in os.path.normpath(b"/" + start + b"/" + target).split(b"/") if part]

    def _resolve(self, path: bytes) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
        return openat2(self._root, os.fsdecode(path) or ".", flags=flags, resolve=resolve)

    def _let_go_of_directories(self) -> None:
        if self._is_stale or len(self._open) > _OPEN_DIRECTORIES:
            self._close_directories()

    def _close_directories(self) -> None:
        for path, fd in self._open.items():
            if path:
                os.close(fd)
        self._open = {b"": self._root}
        self._is_stale = False


def tree_size(directory: str | bytes) -> int:
    """Return what the files below a directory hold, each inode once, as dockerd counts a layer's size."""
    size = 0
    seen: set[int] = set()
    pending = [os.fsencode(directory)]
    while pending:
        with os.scandir(pending.pop()) as children:
            for child in children:
                if child.is_dir(follow_symlinks=False):
                    pending.append(child.path)
                    continue
                status = child.stat(follow_symlinks=False)
                if status.st_nlink > 1:
                    if status.st_ino in seen:
                        continue
                    seen.add(status.st_ino)
                size += status.st_size
    return size


def clean_name(name: bytes, what: str = "entry name") -> list[bytes]:
    """Return the parts of a member's path, none for the root itself; leaving the layer is refused."""
    parts = [part for part in name.split(b"/") if part and part != b"."]
    if b".." not in parts:
        return parts
    clean: list[bytes] = []
    for part in parts:
        if part != b"..":
            clean.append(part)
        elif clean:
            clean.pop()
        else:
            raise TarError(f'invalid {what} "{_shown(name)}"')
    return clean


def check_owner_and_device(entry: Entry) -> None:
    has_owner = 0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID
    if not (has_owner and 0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
        raise TarError("archive/tar: invalid tar header")


def times_of(entry: Entry) -> tuple[int, int]:
    modified = entry.mtime_ns if 0 <= entry.mtime_ns < _MAX_TIME_NS else 0
    accessed = max(entry.atime_ns, modified)
    return accessed if accessed < _MAX_TIME_NS else modified, modified


def set_xattr(target: int | bytes, name: str, value: bytes, *, follows: bool = False) -> None:
    if name.startswith(OVERLAY_XATTRS):
        # These steer overlayfs itself (redirects, opaque marks); a layer says such things by whiteouts alone.
        return
    try:
        if isinstance(target, int):
            os.setxattr(target, name, value)
        else:
            os.setxattr(target, name, value, follow_symlinks=follows)
    except OSError as error:
        # As dockerd: attributes that this process may not write, or that the file system does not know, are left out.
        if error.errno not in (errno.EPERM, errno.ENOTSUP):
            raise


def _path(parent: int, base: bytes) -> bytes:
    return b"/proc/self/fd/%d/%s" % (parent, base)


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
