"""Waking whoever follows a directory's files: one inotify(7) instance for the daemon's whole event loop.

`logs` follows a container's log with it. The instance is shared because a user may have only 128 of them. Used from
the event loop's thread alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from ..runtime import linux

# <sys/inotify.h>
IN_CLOEXEC = 0o2000000
IN_CREATE = 0x100
IN_MODIFY = 0x2
IN_MOVED_TO = 0x80
IN_NONBLOCK = 0o4000

_EVENT = struct.Struct("iIII")
_READ_BYTES = 64 * 1024
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]


class DirectoryWatch:
    """Sets events when a file in a watched directory was written, made or renamed."""

    def __init__(self) -> None:
        self._fd = -1
        self._listeners: dict[int, set[asyncio.Event]] = {}

    @contextmanager
    def watching(self, directory: str) -> Iterator[asyncio.Event]:
        """Give an event that is set at each change until the block ends; the caller clears it."""
        if self._fd < 0:
            self._open()
        path = os.fsencode(directory)
        mask = IN_CREATE | IN_MODIFY | IN_MOVED_TO
        watch = linux.check(_LIBC.inotify_add_watch(self._fd, path, mask), "inotify_add_watch", directory)
        changed = asyncio.Event()
        # The kernel gives the same number for the same directory.
        self._listeners.setdefault(watch, set()).add(changed)
        try:
            yield changed
        finally:
            self._forget(watch, changed)

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self._fd = linux.check(_LIBC.inotify_init1(IN_CLOEXEC | IN_NONBLOCK), "inotify_init1")
        asyncio.get_running_loop().add_reader(self._fd, self._on_readable)

    def _on_readable(self) -> None:
        data = os.read(self._fd, _READ_BYTES)
        offset = 0
        while offset < len(data):
            watch, _, _, name_size = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size + name_size
            for changed in self._listeners.get(watch, ()):
                changed.set()

    def _forget(self, watch: int, changed: asyncio.Event) -> None:
        listeners = self._listeners.get(watch, set())
        listeners.discard(changed)
        if not listeners:
            self._listeners.pop(watch, None)
            if self._fd >= 0:
                # Fails with EINVAL where the directory is gone and took the watch with it.
                _LIBC.inotify_rm_watch(self._fd, watch)
