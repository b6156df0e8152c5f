"""The tar reader against archives written by the standard library, and against damaged ones."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightship.engine.snapshots import tar
from lightship.engine.snapshots.tar import TarError, TarReader


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def archive(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as writer:
        for info, data in members:
            writer.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def read_all(data: bytes, *, piece: int = 1 << 20) -> list[tuple[tar.Entry, bytes]]:
    stream = io.BytesIO(data)
    reader = TarReader(lambda limit: stream.read(min(limit, piece)))
    found = []
    while (entry := reader.next()) is not None:
        content = b""
        while chunk := reader.read():
            content += chunk
        found.append((entry, content))
    return found


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("piece", [1, 511, 1 << 20])
def test_members_come_out_as_they_went_in(format: int, piece: int) -> None:
    long_name, long_link = "d/" * 90 + "x" * 120, "t/" * 100
    data = archive(
        member("file", b"x" * 700, mode=0o4755, uid=1000, gid=50, mtime=12345),
        member(long_name, b"long"),
        member("link", type=tarfile.SYMTYPE, linkname=long_link),
        member("hard", type=tarfile.LNKTYPE, linkname="file"),
        member("directory/", type=tarfile.DIRTYPE, mode=0o1777),
        member("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("rich", uid=3_000_000, gid=4_000_000),
        format=format,
    )
    entries = read_all(data, piece=piece)
    assert [entry.name.rstrip(b"/").decode() for entry, _ in entries] == [
        "file", long_name, "link", "hard", "directory", "device", "rich",
    ]  # fmt: skip
    (file, content), (_, second), (link, _), (hard, _), (directory, _), (device, _), (rich, _) = entries
    assert (content, second) == (b"x" * 700, b"long")
    assert (file.mode, file.uid, file.gid, file.mtime_ns) == (0o4755, 1000, 50, 12345 * 10**9)
    assert (link.kind, link.link.rstrip(b"/")) == (tar.SYMLINK, long_link.rstrip("/").encode())
    assert (hard.kind, hard.link) == (tar.HARD_LINK, b"file")
    assert (directory.kind, directory.mode) == (tar.DIRECTORY, 0o1777)
    assert (device.kind, device.major, device.minor) == (tar.CHAR, 1, 3)
    assert (rich.uid, rich.gid) == (3_000_000, 4_000_000)


def test_pax_records() -> None:
    info, data = member("plain", b"data")
    info.pax_headers = {
        "mtime": "1700000000.123456789", "atime": "1700000001.5", "SCHILY.xattr.user.note": "a=b\nc", "comment": "no",
    }  # fmt: skip
    ((entry, content),) = read_all(archive((info, data)))
    assert (entry.mtime_ns, entry.atime_ns) == (1700000000123456789, 1700000001500000000)
    assert entry.xattrs == [("user.note", b"a=b\nc")]
    assert content == b"data"


@pytest.mark.parametrize(
    "options", [["--format=gnu"], ["--sparse-version=0.0"], ["--sparse-version=0.1"], ["--sparse-version=1.0"]]
)
def test_sparse_files(tmp_path: Path, options: list[str]) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        for offset in range(0, 40 << 20, 4 << 20):
            file.seek(offset)
            file.write(b"%d" % offset)
        file.truncate(41 << 20)
    format_options = options if options[0].startswith("--format") else ["--format=posix", *options]
    packed = subprocess.run(
        ["tar", "-S", *format_options, "-cf", "-", "-C", str(tmp_path), "sparse"], check=True, capture_output=True
    ).stdout
    assert len(packed) < 1 << 20
    stream = io.BytesIO(packed)
    reader = TarReader(stream.read)
    entry = reader.next()
    assert entry is not None and entry.name.endswith(b"sparse") and entry.sparse is not None
    target = tmp_path / "target"
    with target.open("wb", buffering=0) as file:
        reader.copy_to(file.fileno(), entry)
    assert target.read_bytes() == source.read_bytes()
    assert os.stat(target).st_blocks * 512 < 1 << 20
    assert reader.next() is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:700], "unexpected EOF"),
        (lambda data: data[:100], "unexpected EOF"),
        (lambda data: b"x" * 512, "archive/tar: invalid tar header"),
        (lambda data: data[:10] + b"!" + data[11:], "archive/tar: invalid tar header"),
        (lambda data: bytes(512) + data, "archive/tar: invalid tar header"),
    ],
)
def test_damage_is_told_in_gos_words(damage: object, message: str) -> None:
    with pytest.raises(TarError) as error:
        read_all(damage(archive(member("file", b"x" * 1000))))  # type: ignore[operator]
    assert str(error.value) == message


def test_an_archive_may_end_without_zero_blocks() -> None:
    data = archive(member("file", b"x" * 512))[:1024]
    assert [(entry.name, content) for entry, content in read_all(data)] == [(b"file", b"x" * 512)]
    assert read_all(b"") == []
    assert read_all(bytes(512)) == []


def test_huge_extended_headers_are_refused() -> None:
    info, data = member("file")
    info.pax_headers = {"SCHILY.xattr.user.big": "x" * (2 << 20)}
    with pytest.raises(TarError, match="header field too long"):
        read_all(archive((info, data)))


@given(st.binary(max_size=2048))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = read_all(data)
    except TarError:
        return
    assert sum(512 + len(content) for _, content in found) <= len(data)


@given(st.integers(0, 511), st.integers(0, 255))
def test_any_damaged_header_is_read_or_refused(position: int, value: int) -> None:
    data = bytearray(archive(member("file", b"x" * 100, mtime=5), member("other", b"y")))
    data[position] = value
    checked = bytes(data[:148]) + b" " * 8 + bytes(data[156:512])
    data[148:156] = b"%06o\0 " % sum(checked)
    try:
        found = read_all(bytes(data))
    except TarError:
        return
    assert sum(512 + len(content) for _, content in found) <= len(data)


def test_an_archive_may_end_without_the_padding_of_its_last_member() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("last")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"end"))
    reader = TarReader(io.BytesIO(buffer.getvalue()[:515]).read)
    entry = reader.next()
    assert entry is not None
    assert (entry.name, reader.read()) == (b"last", b"end")
    assert reader.next() is None
