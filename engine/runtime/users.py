"""Who a process runs as: user and group names looked up in the container's own /etc/passwd and /etc/group.

Docker's rules and error texts. The files belong to the image, so they are opened inside the container's root only,
never through links out of it, and only if they are regular files (a FIFO would block the caller for ever).
"""

from __future__ import annotations

import os
import stat

from . import linux
from .constants import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS
from .errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MAX_ID = 2**31 - 1
_MAX_FILE_BYTES = 16 << 20


class User:
    """A resolved user: ids, supplementary groups and home directory."""

    __slots__ = ("additional_gids", "gid", "home", "uid")

    def __init__(self, uid: int, gid: int, additional_gids: list[int], home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.additional_gids = additional_gids
        self.home = home


def lookup_user(root_fd: int, user: str, additional_groups: Iterable[str] = ()) -> User:
    """Resolve Docker's `name|uid[:group|gid]` and group names against the files below `root_fd`."""
    user_part, _, rest = user.partition(":")
    group_part = rest.partition(":")[0]
    uid = _number(user_part)
    gid = _number(group_part)
    entry = _find_passwd(root_fd, user_part, uid if user_part else 0)
    if entry is None:
        if user_part and uid is None:
            raise _unknown("user", user_part, "passwd")
        found = User(uid or 0, 0, [], "/")
    else:
        found = User(int(entry[2]), int(entry[3]), [], entry[5])
    groups = list(_entries(root_fd, "etc/group", 4)) if group_part or entry or additional_groups else []
    members: list[int] = []
    if group_part:
        found.gid = _group_id(groups, group_part, gid)
    elif entry:
        members = [int(group[2]) for group in groups if entry[0] in group[3].split(",")]
    extra = [_group_id(groups, name, _number(name)) for name in additional_groups]
    found.additional_gids = list(dict.fromkeys([found.gid, *members, *extra]))
    return found


def home_of(root_fd: int, uid: int) -> str:
    """Return the uid's home directory from the container's passwd file, "/" when it is not there."""
    entry = _find_passwd(root_fd, "", uid)
    return entry[5] if entry else "/"


def _number(text: str) -> int | None:
    """Return an id as a number, or None for a name; Go's Atoi also takes a sign."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    value = int(text)
    if not 0 <= value <= _MAX_ID:
        raise RuntimeFailure("invalid_argument", f"uids and gids must be in range 0-{_MAX_ID}")
    return value


def _find_passwd(root_fd: int, name: str, uid: int | None) -> list[str] | None:
    """Find the first entry with this uid or, where that is None, with this name."""
    for entry in _entries(root_fd, "etc/passwd", 7):
        if int(entry[2]) == uid if uid is not None else entry[0] == name:
            return entry
    return None


def _group_id(groups: list[list[str]], name: str, gid: int | None) -> int:
    if gid is not None:
        return gid
    for group in groups:
        if group[0] == name:
            return int(group[2])
    raise _unknown("group", name, "group")


def _unknown(what: str, name: str, file: str) -> RuntimeFailure:
    return RuntimeFailure("invalid_argument", f"unable to find {what} {name}: no matching entries in {file} file")


def _entries(root_fd: int, path: str, fields: int) -> Iterator[list[str]]:
    """Yield the file's lines as lists of fields; lines whose ids are not numbers are passed over."""
    for line in _read(root_fd, path).decode("utf-8", "surrogateescape").splitlines():
        entry = line.strip().split(":")
        if not entry[0] or entry[0].startswith("#"):
            continue
        entry += [""] * (fields - len(entry))
        ids = entry[2:4] if fields == 7 else entry[2:3]
        if all(number.isascii() and number.isdigit() for number in ids):
            yield entry


def _read(root_fd: int, path: str) -> bytes:
    try:
        fd = linux.openat2(
            root_fd,
            path,
            flags=os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY,
            resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        )
    except OSError:
        return b""
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_size > _MAX_FILE_BYTES:
            return b""
        chunks = []
        while chunk := os.read(fd, 1 << 20):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)
