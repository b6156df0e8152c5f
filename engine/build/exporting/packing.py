"""A layer's blob in another form: compressed as asked, its files no newer than SOURCE_DATE_EPOCH. For a thread."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...errors import InvalidArgument
from ...snapshots.compression import CompressionError, decompressed
from .attributes import Compression
from .timestamps import clamped

_CHUNK = 1 << 20
_GZIP_LEVEL = 4
"""That of `docker push`, whose blobs are then the same."""

_ZSTD_LEVEL, _ZSTD_LEVELS = 3, (1, 22)


class _Packer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


@dataclass(frozen=True)
class Packed:
    """What has been written; `diff_id` is the digest of what it holds."""

    diff_id: str
    digest: str
    size: int


def pack(source: Path, target: Path, compression: Compression, *, latest_s: int | None = None) -> Packed:
    """Write a blob anew, without name and time; `latest_s` is what its files' times are brought down to."""
    packer = _packer(compression)
    held, written, size = hashlib.sha256(), hashlib.sha256(), 0
    try:
        with open(source, "rb", buffering=0) as blob, open(target, "xb", buffering=0) as file:
            _, read = decompressed(blob.read)
            for piece in _pieces(read) if latest_s is None else clamped(read, latest_s):
                held.update(piece)
                size += _write(file.write, written, packer.compress(piece))
            size += _write(file.write, written, packer.flush())
    except CompressionError as error:
        raise InvalidArgument(f"a layer cannot be read: {error}") from error
    return Packed(f"sha256:{held.hexdigest()}", f"sha256:{written.hexdigest()}", size)


def _pieces(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while piece := read(_CHUNK):
        yield piece


def _write(write: Callable[[bytes], int], digest: hashlib._Hash, data: bytes) -> int:
    digest.update(data)
    left = data
    while left:
        left = left[write(left) :]
    return len(data)


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _packer(compression: Compression) -> _Packer:
    if compression.type == "gzip":
        level = _GZIP_LEVEL if compression.level is None else compression.level
        return zlib.compressobj(level, zlib.DEFLATED, 31)
    if compression.type == "zstd":
        import zstandard  # 6 ms to import, and few layers need it

        level = _ZSTD_LEVEL if compression.level is None else compression.level
        least, most = _ZSTD_LEVELS
        return zstandard.ZstdCompressor(level=min(max(level, least), most)).compressobj()
    return _Plain()
