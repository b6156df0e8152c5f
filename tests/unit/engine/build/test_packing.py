"""Layers in another form: the same files, compressed another way, and no newer than a moment."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest
import zstandard
from lightship.engine.build.exporting.attributes import Compression
from lightship.engine.build.exporting.packing import pack
from lightship.engine.errors import InvalidArgument

NEW, OLD, LATEST = 1_800_000_000, 1_000_000_000, 1_700_000_000
LONG = "d/" + "n" * 200


def layer(format: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=format) as archive:
        for name, mtime, size in (("new", NEW + 0.5, 700), (LONG, NEW, 0), ("old", OLD, 512), ("large", NEW, 3 << 20)):
            member = tarfile.TarInfo(name)
            member.mtime, member.size = mtime, size
            if format == tarfile.PAX_FORMAT:
                member.pax_headers = {"atime": "1900000000.25", "SCHILY.xattr.user.a": "b"}
            archive.addfile(member, io.BytesIO(b"x" * size))
    return packed.getvalue()


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_times_are_brought_down(tmp_path: Path, format: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(gzip.compress(layer(format)))
    made = pack(source, target, Compression(""), latest_s=LATEST)
    data = target.read_bytes()
    assert made.diff_id == made.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = {member.name: member for member in archive}
        times = {"new": LATEST, LONG: LATEST, "old": OLD, "large": LATEST}
        assert {name: member.mtime for name, member in members.items()} == times
        large = archive.extractfile("large")
        assert large is not None
        assert large.read() == b"x" * (3 << 20)
    if format == tarfile.PAX_FORMAT:
        assert members["new"].pax_headers["SCHILY.xattr.user.a"] == "b"
        assert float(members["new"].pax_headers["atime"]) == LATEST


def unpacked(type: str, data: bytes) -> bytes:
    if type == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return gzip.decompress(data) if type == "gzip" else data


def test_compressions_hold_the_same(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(plain := layer(tarfile.PAX_FORMAT))
    sizes = {}
    for type, level in (("gzip", None), ("gzip", 0), ("gzip", 9), ("zstd", None), ("zstd", 40), ("", None)):
        target = tmp_path / f"{type}{level}"
        made = pack(source, target, Compression(type, level))
        assert made.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
        data = target.read_bytes()
        assert (made.digest, made.size) == (f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
        assert unpacked(type, data) == plain
        sizes[type, level] = made.size
    assert sizes["gzip", 0] > len(plain) > sizes["gzip", 9]


@pytest.mark.parametrize(
    "data", [b"x" * 512, layer(tarfile.GNU_FORMAT)[:1300], gzip.compress(layer(tarfile.GNU_FORMAT))[:200]], ids=len
)
def test_what_is_no_layer(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "source").write_bytes(data)
    with pytest.raises(InvalidArgument):
        pack(tmp_path / "source", tmp_path / "target", Compression(), latest_s=LATEST)
