"""The option words of an OCI mount: flags of the mount, propagation, recursive attributes, data of the filesystem."""

from __future__ import annotations

from .constants import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME,
    MS_PRIVATE,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# word: (does it clear?, attribute)
_ATTRIBUTES = {
    "atime": (True, MOUNT_ATTR_NOATIME),
    "dev": (True, MOUNT_ATTR_NODEV),
    "diratime": (True, MOUNT_ATTR_NODIRATIME),
    "exec": (True, MOUNT_ATTR_NOEXEC),
    "noatime": (False, MOUNT_ATTR_NOATIME),
    "nodev": (False, MOUNT_ATTR_NODEV),
    "nodiratime": (False, MOUNT_ATTR_NODIRATIME),
    "noexec": (False, MOUNT_ATTR_NOEXEC),
    "norelatime": (True, MOUNT_ATTR_RELATIME),
    "nostrictatime": (True, MOUNT_ATTR_STRICTATIME),
    "nosuid": (False, MOUNT_ATTR_NOSUID),
    "nosymfollow": (False, MOUNT_ATTR_NOSYMFOLLOW),
    "relatime": (False, MOUNT_ATTR_RELATIME),
    "ro": (False, MOUNT_ATTR_RDONLY),
    "rw": (True, MOUNT_ATTR_RDONLY),
    "strictatime": (False, MOUNT_ATTR_STRICTATIME),
    "suid": (True, MOUNT_ATTR_NOSUID),
    "symfollow": (True, MOUNT_ATTR_NOSYMFOLLOW),
}
_RECURSIVE = {f"r{word}": value for word, value in _ATTRIBUTES.items() if word not in ("ro", "rw")} | {
    "rro": (False, MOUNT_ATTR_RDONLY),
    "rrw": (True, MOUNT_ATTR_RDONLY),
}
PROPAGATION = {
    "private": (False, MS_PRIVATE),
    "rprivate": (True, MS_PRIVATE),
    "rshared": (True, MS_SHARED),
    "rslave": (True, MS_SLAVE),
    "runbindable": (True, MS_UNBINDABLE),
    "shared": (False, MS_SHARED),
    "slave": (False, MS_SLAVE),
    "unbindable": (False, MS_UNBINDABLE),
}
"""word: (recursive?, propagation type)"""
# Flags of the filesystem, not of the mount; fsconfig takes them under these names.
_SUPERBLOCK = frozenset(
    ("async", "dirsync", "iversion", "lazytime", "mand", "noiversion", "nolazytime", "nomand", "sync")
)
_IGNORED = frozenset(("defaults", "loud", "silent"))

KNOWN = sorted(
    {*_ATTRIBUTES, *_RECURSIVE, *PROPAGATION, *_SUPERBLOCK, *_IGNORED, "bind", "idmap", "rbind", "remount", "ridmap"}
    | {"tmpcopyup"}
)
"""Every option that is not handed to the filesystem, for `lightship-runtime features`."""


class MountOptions:
    """Parsed options; later words win over earlier ones."""

    def __init__(self) -> None:
        self.attr_set = 0
        self.attr_clr = 0
        self.recursive_set = 0
        self.recursive_clr = 0
        self.propagation: list[tuple[bool, int]] = []
        self.data: list[str] = []
        self.bind = False
        self.recursive_bind = False
        self.copy_up = False
        self.id_map = ""

    @property
    def read_only(self) -> bool:
        return bool(self.attr_set & MOUNT_ATTR_RDONLY)


def is_id_mapped(entry: dict[str, Any]) -> bool:
    """Does an OCI mount show its files with other owners?"""
    options = entry.get("options") or ()
    return bool(entry.get("uidMappings") or entry.get("gidMappings") or "idmap" in options or "ridmap" in options)


def parse(words: Iterable[str]) -> MountOptions:
    """Sort option words; what is not known is data for the filesystem."""
    options = MountOptions()
    for word in words:
        if word in _ATTRIBUTES:
            clear, flag = _ATTRIBUTES[word]
            options.attr_set, options.attr_clr = _merge(options.attr_set, options.attr_clr, clear, flag)
        elif word in PROPAGATION:
            options.propagation.append(PROPAGATION[word])
        elif word in _RECURSIVE:
            clear, flag = _RECURSIVE[word]
            options.recursive_set, options.recursive_clr = _merge(
                options.recursive_set, options.recursive_clr, clear, flag
            )
        elif word in ("bind", "rbind"):
            options.bind = True
            options.recursive_bind = options.recursive_bind or word == "rbind"
        elif word in ("idmap", "ridmap"):
            options.id_map = word
        elif word == "tmpcopyup":
            options.copy_up = True
        elif word not in _IGNORED and word not in ("remount", ""):
            options.data.append(word)
    return options


def _merge(attr_set: int, attr_clr: int, clear: bool, flag: int) -> tuple[int, int]:
    """Add one word. The access-time attributes are an enumeration: one is set by clearing the whole field first."""
    if flag & MOUNT_ATTR__ATIME or flag == MOUNT_ATTR_RELATIME:
        kept = attr_set & ~MOUNT_ATTR__ATIME
        return (kept if clear else kept | flag), attr_clr | MOUNT_ATTR__ATIME
    if clear:
        return attr_set & ~flag, attr_clr | flag
    return attr_set | flag, attr_clr & ~flag


def flag_words(data: Iterable[str]) -> Iterable[tuple[str, str | None]]:
    """Split filesystem data into (key, value); value is None for a plain word."""
    for item in data:
        for word in item.split(","):
            key, equals, value = word.partition("=")
            if key:
                yield key, value if equals else None
