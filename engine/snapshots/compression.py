"""Telling a compressed stream by its first bytes, and reading it decompressed in bounded pieces.

Used for layers and for archives of images. A bomb costs its reader time and disk, never memory: no read returns more
than was asked for.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing_extensions import Buffer

Read = Callable[[int], bytes]
"""Returns at most the number of bytes asked for, and none at the end."""

NONE, GZIP, ZSTD, BZIP2, XZ = "", "gzip", "zstd", "bzip2", "xz"
_MAGIC = (
    (b"\x1f\x8b\x08", GZIP),
    (b"\x28\xb5\x2f\xfd", ZSTD),
    (b"BZh", BZIP2),
    (b"\xfd7zXZ\0", XZ),
)
_INPUT = 1 << 18


class CompressionError(Exception):
    """The compressed stream is damaged or ends early."""


def detect(head: bytes) -> str:
    """Return the compression that a stream's first bytes tell; zstd's skippable frames count as zstd."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if len(head) >= 4 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18":
        return ZSTD
    return NONE


def decompressed(read: Read) -> tuple[str, Read]:
    """Return the compression of a stream, and a reader of what it holds."""
    head = b""
    while len(head) < 10 and (chunk := read(10 - len(head))):
        head += chunk
    compression = detect(head)
    whole = _Rejoined(head, read).read
    if compression == NONE:
        return NONE, whole
    if compression == ZSTD:
        return ZSTD, _zstd(whole)
    return compression, _Members(compression, whole).read


class _Rejoined:
    """A stream with the bytes that were looked at put back in front."""

    def __init__(self, head: bytes, read: Read) -> None:
        self._head, self._read = head, read

    def read(self, limit: int) -> bytes:
        if self._head:
            head, self._head = self._head[:limit], self._head[limit:]
            return head
        return self._read(limit)


class _Raw(io.RawIOBase):
    def __init__(self, read: Read) -> None:
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        chunk = self._read(len(view))
        view[: len(chunk)] = chunk
        return len(chunk)


def _zstd(read: Read) -> Read:
    import zstandard  # 6 ms to import, and few layers need it

    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    reader = decompressor.stream_reader(io.BufferedReader(_Raw(read), _INPUT), read_across_frames=True)

    def read_checked(limit: int) -> bytes:
        try:
            return bytes(reader.read(limit))
        except zstandard.ZstdError as error:
            raise CompressionError(f"zstd: {error}") from error

    return read_checked


class _Decompressor(Protocol):
    """What bz2's and lzma's decompressors have in common, and `_Gzip` with them."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        chunk = self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)
        self.needs_input = len(chunk) < max_length
        return chunk


def _new_member(compression: str) -> _Decompressor:
    if compression == GZIP:
        return _Gzip()
    if compression == BZIP2:
        return bz2.BZ2Decompressor()
    return lzma.LZMADecompressor(lzma.FORMAT_XZ)


class _Members:
    """Reads gzip, bzip2 and xz, of which several may follow one another in one stream."""

    def __init__(self, compression: str, read: Read) -> None:
        self._compression, self._read = compression, read
        self._member = _new_member(compression)

    def read(self, limit: int) -> bytes:
        while True:
            data = self._read(_INPUT) if self._member.needs_input and not self._member.eof else b""
            if not data and self._member.needs_input and not self._member.eof:
                raise CompressionError("unexpected EOF")
            try:
                chunk = b"" if self._member.eof else self._member.decompress(data, limit)
            except (zlib.error, OSError, lzma.LZMAError) as error:
                raise CompressionError(f"{self._compression}: {error}") from error
            if chunk:
                return chunk
            if self._member.eof and not self._next_member():
                return b""

    def _next_member(self) -> bool:
        """Go on to the member that follows, over the zero bytes that files may be padded with; False at the end."""
        rest = self._member.unused_data.lstrip(b"\0")
        while not rest:
            more = self._read(_INPUT)
            if not more:
                return False
            rest = more.lstrip(b"\0")
        self._read = _Rejoined(rest, self._read).read
        self._member = _new_member(self._compression)
        return True
