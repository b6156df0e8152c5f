"""The files of a json-file log, read as one: rotated and compressed ones, from the start or from the last lines on.

Everything blocks and runs in a worker thread, called by `logs`. The shim writes and rotates at the same time: it
renames `x` to `x.1`, `x.1` to `x.2` and so on, and may compress what it renamed.
"""

from __future__ import annotations

import gzip
import io
import os
from typing import BinaryIO

BLOCK_BYTES = 256 * 1024
_TAIL_BLOCK_BYTES = 64 * 1024


class LogFiles:
    """A cursor over a log, oldest record first.

    `read` gives blocks of whole records and b"" at the present end; with `follow` it may be called again when the log
    grew, and goes on through rotations. Without it the end is where the log ended when it was opened.
    """

    def __init__(self, path: str, *, tail: int = -1, follow: bool = False, end: int | None = None) -> None:
        """Open the log; `end` bounds the current file where the caller knows better than its size of now."""
        self._path, self._follow = path, follow
        self._files = _open_all(path)
        self._end = end
        if not follow and end is None and self._files:
            self._end = os.fstat(self._files[-1].fileno()).st_size
        self._rest = b""
        if tail >= 0:
            self._skip_to_last(tail)

    def read(self) -> bytes:
        """Return the next whole records, up to about a block; b"" where there are none now."""
        while True:
            data = self._read_current()
            if data:
                whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
                if newline:
                    return whole + newline
            elif not self._advance():
                return b""

    def close(self) -> None:
        for file in self._files:
            file.close()
        self._files = []

    def _read_current(self) -> bytes:
        if not self._files:
            return b""
        file, size = self._files[0], BLOCK_BYTES
        if len(self._files) == 1 and self._end is not None:
            size = min(size, max(0, self._end - file.tell()))
        data = file.read(size)
        if not data and self._follow and _was_truncated(file):
            file.seek(0)
            data = file.read(size)
        return data

    def _advance(self) -> bool:
        """Go on to the next file, or find that this one has more; return whether there is anything to read."""
        if len(self._files) < 2:
            return self._follow and self._follow_rotation()
        self._files.pop(0).close()
        self._rest = b""
        return True

    def _follow_rotation(self) -> bool:
        """Where the current file was rotated away, read what was added before that, then what came after it."""
        if not self._files:
            self._files = _open_all(self._path)
            return bool(self._files)
        current = self._files[0]
        inode = _inode_of(current)
        if _inode(self._path) in (inode, None):
            return False
        if os.fstat(current.fileno()).st_size > current.tell():
            return True
        newer = _open_all(self._path)
        inodes = [_inode_of(file) for file in newer]
        skipped = inodes.index(inode) + 1 if inode in inodes else 0
        for file in newer[:skipped]:
            file.close()
        self._files += newer[skipped:]
        return len(self._files) > 1 and self._advance()

    def _skip_to_last(self, lines: int) -> None:
        for index in range(len(self._files) - 1, -1, -1):
            file = self._files[index]
            end = self._end if index == len(self._files) - 1 else None
            offset, found = _last_lines(file, lines, end)
            lines -= found
            if lines <= 0:
                file.seek(offset)
                for older in self._files[:index]:
                    older.close()
                del self._files[:index]
                return
            file.seek(0)


def _open_all(path: str) -> list[BinaryIO]:
    """Open the current file and the rotated ones, oldest first; a rotation meanwhile does not count one twice."""
    newest_first: list[BinaryIO] = []
    seen: set[int] = set()
    number = 0
    while (file := _open(f"{path}.{number}" if number else path)) is not None or number == 0:
        number += 1
        if file is None:
            continue
        inode = _inode_of(file)
        if inode is not None and inode in seen:
            file.close()
            continue
        seen.add(inode or 0)
        newest_first.append(file)
    return newest_first[::-1]


def _open(path: str) -> BinaryIO | None:
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError:
        pass
    try:
        with gzip.open(path + ".gz") as compressed:
            return io.BytesIO(compressed.read())
    except FileNotFoundError:
        return None


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def _inode_of(file: BinaryIO) -> int | None:
    return None if isinstance(file, io.BytesIO) else os.fstat(file.fileno()).st_ino


def _was_truncated(file: BinaryIO) -> bool:
    """Whether the file was emptied in place, as happens with a single file (`max-file=1`)."""
    return not isinstance(file, io.BytesIO) and os.fstat(file.fileno()).st_size < file.tell()


def _last_lines(file: BinaryIO, lines: int, end: int | None) -> tuple[int, int]:
    """Return where the last `lines` records of a file begin, and how many there are at most."""
    position = file.seek(0, os.SEEK_END) if end is None else end
    if lines == 0:
        return position, 0
    found, is_first = 0, True
    while position > 0:
        size = min(_TAIL_BLOCK_BYTES, position)
        position -= size
        file.seek(position)
        block = _read_exactly(file, size)
        # The newline at the very end closes the last record; one more than wanted is the start of the first.
        stop = len(block) - 1 if is_first and block.endswith(b"\n") else len(block)
        is_first = False
        newlines = block.count(b"\n", 0, stop)
        if found + newlines >= lines:
            for _ in range(lines - found):
                stop = block.rindex(b"\n", 0, stop)
            return position + stop + 1, lines
        found += newlines
    return 0, found + (0 if is_first else 1)


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data
