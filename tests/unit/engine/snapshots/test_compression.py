"""Compressed streams: told by their first bytes, read in bounded pieces, damage noticed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from lightship.engine.snapshots.compression import CompressionError, decompressed

COMPRESSORS = {
    "": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
DATA = bytes(range(256)) * 4000


def inflate(data: bytes, *, limit: int = 1 << 20) -> tuple[str, bytes]:
    compression, read = decompressed(io.BytesIO(data).read)
    parts = []
    while part := read(limit):
        assert len(part) <= limit
        parts.append(part)
    return compression, b"".join(parts)


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("limit", [1000, 1 << 20])
def test_round_trip(name: str, limit: int) -> None:
    assert inflate(COMPRESSORS[name](DATA), limit=limit) == (name, DATA)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
def test_members_that_follow_one_another(name: str) -> None:
    compress = COMPRESSORS[name]
    assert inflate(compress(DATA) + compress(b"more")) == (name, DATA + b"more")


def test_padding_after_a_member() -> None:
    assert inflate(gzip.compress(DATA) + bytes(1000)) == ("gzip", DATA)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_a_stream_that_ends_early(name: str) -> None:
    whole = COMPRESSORS[name](DATA)
    with pytest.raises(CompressionError):
        inflate(whole[: len(whole) // 2])


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
def test_damage(name: str) -> None:
    whole = COMPRESSORS[name](DATA)
    with pytest.raises(CompressionError):
        inflate(whole[:12] + b"garbage" * 100)


def test_a_bomb_is_read_in_small_pieces() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    _, read = decompressed(io.BytesIO(bomb).read)
    assert len(read(4096)) <= 4096


@given(st.sampled_from(["gzip", "bzip2", "xz", "zstd"]), st.binary(max_size=3000))
def test_any_data(name: str, data: bytes) -> None:
    assert inflate(COMPRESSORS[name](data)) == (name, data)
