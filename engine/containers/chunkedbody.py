"""The chunked body of a request, read from the client's own connection (RFC 9112, 7.1).

Used by the process that unpacks what is copied into a container. The daemon's HTTP parser has read the request's head
and goes on after the body, so nothing beyond it is read here: clients send no request before they have the answer.
"""

from __future__ import annotations

import os
import select

from ..snapshots.tar import TarError

_READ_BYTES = 1 << 20
_MAX_LINE = 4096


class ChunkedBody:
    """Read it with `read`; the connection does not block, so it is waited for."""

    def __init__(self, fd: int, first: bytes) -> None:
        self._fd = fd
        self._data = first
        self._position = 0
        self._left = 0
        self._is_over = False
        self._has_begun = False

    def read(self, limit: int) -> bytes:
        """Return between one and `limit` bytes, none at the end."""
        if not self._left and not self._is_over:
            self._begin_chunk()
        if self._is_over:
            return b""
        if self._position == len(self._data):
            self._receive()
        end = min(self._position + min(limit, self._left), len(self._data))
        piece = self._data[self._position : end]
        self._left -= end - self._position
        self._position = end
        return piece

    def _begin_chunk(self) -> None:
        if self._has_begun and self._line():
            raise TarError("malformed chunked encoding")
        self._has_begun = True
        size = self._line().partition(b";")[0].strip()
        if not size or size.strip(b"0123456789abcdefABCDEF"):
            raise TarError("invalid byte in chunk length")
        self._left = int(size, 16)
        if not self._left:
            while self._line():
                pass  # trailers
            self._is_over = True

    def _line(self) -> bytes:
        while (end := self._data.find(b"\r\n", self._position)) < 0:
            if len(self._data) - self._position > _MAX_LINE:
                raise TarError("header line too long")
            rest = self._data[self._position :]
            self._receive()
            self._data = rest + self._data
        line = self._data[self._position : end]
        self._position = end + 2
        return line

    def _receive(self) -> None:
        while True:
            try:
                self._data = os.read(self._fd, _READ_BYTES)
                break
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._fd, select.POLLIN)
                poll.poll()
        self._position = 0
        if not self._data:
            raise TarError("unexpected EOF")
