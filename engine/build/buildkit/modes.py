"""File modes on the wire are Go's os.FileMode: permissions as in Unix, types and special bits of its own."""

from __future__ import annotations

import stat

_TYPES = (
    (1 << 31, stat.S_IFDIR),
    (1 << 27, stat.S_IFLNK),
    (1 << 25, stat.S_IFIFO),
    (1 << 24, stat.S_IFSOCK),
    (1 << 26 | 1 << 21, stat.S_IFCHR),
    (1 << 26, stat.S_IFBLK),
)
_SPECIAL = ((1 << 23, stat.S_ISUID), (1 << 22, stat.S_ISGID), (1 << 20, stat.S_ISVTX))
_TYPE_BITS = 1 << 31 | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19


def from_go(mode: int) -> int:
    """Return the `st_mode` of a mode on the wire, 0 for what is no file of Unix."""
    special = sum(unix for go, unix in _SPECIAL if mode & go)
    if not mode & _TYPE_BITS:
        return stat.S_IFREG | special | mode & 0o777
    kind = next((unix for go, unix in _TYPES if mode & _TYPE_BITS == go), 0)
    return kind and kind | special | mode & 0o777


def to_go(mode: int) -> int:
    """Return the mode on the wire of an `st_mode`."""
    kind = next((go for go, unix in _TYPES if stat.S_IFMT(mode) == unix), 0)
    return kind | sum(go for go, unix in _SPECIAL if mode & unix) | mode & 0o777
