"""Ids of files in a container that has a user namespace: what the host sees, and what the container does.

Used where files of a running container are read and written from outside (`docker cp`), by the worker that does so.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

OVERFLOW_ID = 65534
"""What a container sees of ids that it does not have; the kernel's own default."""

Range = tuple[int, int, int]
"""The first id in the container, the host's for it, and how many."""


class Ids:
    """The ranges of a container's user and group ids."""

    def __init__(self, uids: Iterable[Range], gids: Iterable[Range]) -> None:
        self._uids, self._gids = list(uids), list(gids)

    def inside(self, uid: int, gid: int) -> tuple[int, int]:
        """Return the container's ids for the host's."""
        return _inside(self._uids, uid), _inside(self._gids, gid)

    def outside(self, uid: int, gid: int) -> tuple[int, int]:
        """Return the host's ids for the container's; OverflowError where it has none such."""
        return _outside(self._uids, uid), _outside(self._gids, gid)


def _inside(ranges: list[Range], id: int) -> int:
    return next((first + id - host for first, host, size in ranges if host <= id < host + size), OVERFLOW_ID)


def _outside(ranges: list[Range], id: int) -> int:
    for first, host, size in ranges:
        if first <= id < first + size:
            return host + id - first
    raise OverflowError(f"container ID {id} cannot be mapped to a host ID")
