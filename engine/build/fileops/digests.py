"""Digests of a client's files from build to build: one that has not changed since is not read again.

A file is the same by its inode, size, and times of change; the engine alone writes to these directories.
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPARE = 1000


class Digests:
    """What one file of the engine's remembers; an empty `path` remembers nothing."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        self._seen: dict[str, Any] = {}
        if path:
            try:
                with open(path, "rb") as file:
                    self._known = json.load(file)
            except (FileNotFoundError, ValueError):
                pass  # the first time, or a file that a power cut has left

    def get(self, name: str, status: os.stat_result) -> str:
        """Return the digest that a file had, empty where it is another one now."""
        known = self._known.get(name)
        if known is None or known[:-1] != _identity(status):
            return ""
        self._seen[name] = known
        digest: str = known[-1]
        return digest

    def put(self, name: str, status: os.stat_result, digest: str) -> None:
        self._seen[name] = [*_identity(status), digest]

    def save(self) -> None:
        """Write it down where something is new; names that were not met for long go."""
        if not self._path or all(self._known.get(name) is entry for name, entry in self._seen.items()):
            return
        kept = {} if len(self._known) > 2 * len(self._seen) + _SPARE else self._known
        temporary = f"{self._path}.{os.getpid()}"
        with open(temporary, "w") as file:
            json.dump({**kept, **self._seen}, file)
        os.rename(temporary, self._path)


def _identity(status: os.stat_result) -> list[int]:
    return [status.st_ino, status.st_size, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns,
            status.st_ctime_ns]  # fmt: skip
