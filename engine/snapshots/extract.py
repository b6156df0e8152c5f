"""Extracting an archive into a directory of a container: the writing half of `docker cp`.

As `layer.py` unpacks a layer, but into a tree that is in use: what is there is replaced or kept by dockerd's rules, and
names that would be marks of a layer are ordinary files. All paths are resolved from the container's root, which no
link leaves, whoever changes it meanwhile.
"""

from __future__ import annotations

import os
import stat

from ..runtime.constants import O_PATH
from . import tar
from .layer import Unpacker, check_owner_and_device, clean_name, set_xattr, times_of
from .tar import Entry, TarError, TarReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ids import Ids


class Extractor(Unpacker):
    """Makes the members of an archive below `directory`, a path in the root that `root_fd` refers to."""

    def __init__(
        self,
        archive: TarReader,
        root_fd: int,
        directory: bytes,
        *,
        keeps_kinds: bool,
        owner: tuple[int, int] | None,
        ids: Ids | None = None,
    ) -> None:
        """`keeps_kinds` refuses to replace a directory by something else or the other way; `owner` is given to all;
        `ids` are those of a container that has others than the host."""
        super().__init__(archive, f"/proc/self/fd/{root_fd}")
        self._prefix = [part for part in directory.split(b"/") if part]
        self._keeps_kinds = keeps_kinds
        self._owner = owner
        self._ids = ids

    def add(self, entry: Entry) -> None:
        if entry.kind == tar.PAX_GLOBAL:
            return
        self._let_go_of_directories()
        check_owner_and_device(entry)
        parts = clean_name(entry.name)
        if not parts:
            return
        name = b"/".join(parts)
        base = parts.pop()
        parent = self._parent(parts)
        self._make_room(parent, base, entry, name)
        if self._owner is not None:
            entry.uid, entry.gid = self._owner
        if self._ids is not None:
            entry.uid, entry.gid = self._ids.outside(entry.uid, entry.gid)
        self._make_entry(parent, base, entry)
        if entry.kind == tar.DIRECTORY:
            self._times[b"/".join([*self._prefix, name])] = times_of(entry)

    def finish(self) -> int:
        self._set_directory_times()
        return self._size

    def _make_room(self, parent: int, base: bytes, entry: Entry, name: bytes) -> None:
        """Remove what is there under the member's name; only directories are merged."""
        try:
            mode = os.lstat(base, dir_fd=parent).st_mode
        except FileNotFoundError:
            return
        was_directory, is_directory = stat.S_ISDIR(mode), entry.kind == tar.DIRECTORY
        if was_directory and is_directory:
            return
        shown = name.decode("utf-8", "backslashreplace")
        where = "/" + b"/".join(self._prefix).decode("utf-8", "backslashreplace")
        if self._keeps_kinds and was_directory != is_directory:
            old, new = ("directory", "non-directory") if was_directory else ("non-directory", "directory")
            raise TarError(f'cannot overwrite {old} "{shown}" with {new} "{where}"')
        try:
            self._remove(parent, base)
        except OSError as error:
            text = (error.strerror or str(error)).lower()
            raise TarError(f"RemoveAll {shown}: {text}") from error

    def _set_attributes(self, parent: int, base: bytes, entry: Entry, *, is_link: bool = False) -> None:
        """Change what was made, and no other file that a link in its place leads to (CVE-2018-15664)."""
        fd = os.open(base, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            path = b"/proc/self/fd/%d" % fd
            os.chown(path, entry.uid, entry.gid)
            for name, value in entry.xattrs:
                set_xattr(path, name, value, follows=True)  # the descriptor's link, no other
            if not is_link:
                os.chmod(path, entry.mode)
            os.utime(path, ns=times_of(entry))
        finally:
            os.close(fd)

    def _parent(self, parts: list[bytes]) -> int:
        return super()._parent([*self._prefix, *parts])
