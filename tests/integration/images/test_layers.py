"""Layers unpacked on a real file system: what they hold, what overlayfs makes of it, and what must not get out."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.images import entry, layer
from lightship.engine.snapshots.layer import apply, tree_size
from lightship.engine.snapshots.tar import TarError, TarReader

SYMLINK, HARD_LINK = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "layer").mkdir()
    return tmp_path / "layer"


def unpack(target: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> int:
    before = set(os.listdir("/proc/self/fd"))
    try:
        return apply(TarReader(io.BytesIO(layer(*entries)).read), str(target))
    finally:
        assert set(os.listdir("/proc/self/fd")) == before, "descriptors were left open"


def test_everything_a_layer_can_hold(target: Path) -> None:
    precise = entry("precise", b"12345", mode=0o640, uid=1000, gid=50)
    precise[0].pax_headers = {"mtime": "1700000000.123456789"}
    size = unpack(
        target,
        entry("etc", mode=0o750, uid=3, gid=4),
        entry("etc/file", b"data", mode=0o4755),
        entry("etc/hard", kind=HARD_LINK, link="etc/file", mode=0o4755),
        entry("etc/link", kind=SYMLINK, link="/anywhere"),
        entry("dev/null", kind=tarfile.CHRTYPE, device=(1, 3), mode=0o666),
        entry("dev/disk", kind=tarfile.BLKTYPE, device=(8, 0), mode=0o660, gid=6),
        entry("pipe", kind=tarfile.FIFOTYPE, mode=0o600),
        entry("tmp", mode=0o1777),
        entry("setgid", mode=0o2755, gid=50),
        entry("setgid/inside", b"x", gid=0),
        precise,
        entry("./deep//er/../er/file", b"deep"),
        entry("/absolute", b"root"),
        entry("x" * 200 + "/" + "y" * 200, b"long"),
    )
    status = (target / "etc/file").lstat()
    assert (stat.S_IMODE(status.st_mode), status.st_nlink) == (0o4755, 2)
    etc = (target / "etc").lstat()
    assert (stat.S_IMODE(etc.st_mode), etc.st_uid, etc.st_gid, etc.st_mtime) == (0o750, 3, 4, 1_700_000_000)
    assert os.readlink(target / "etc/link") == "/anywhere"
    null, disk = (target / "dev/null").lstat(), (target / "dev/disk").lstat()
    assert (stat.S_ISCHR(null.st_mode), null.st_rdev, stat.S_IMODE(null.st_mode)) == (True, os.makedev(1, 3), 0o666)
    assert (stat.S_ISBLK(disk.st_mode), disk.st_rdev, disk.st_gid) == (True, os.makedev(8, 0), 6)
    assert stat.S_ISFIFO((target / "pipe").lstat().st_mode)
    assert stat.S_IMODE((target / "tmp").stat().st_mode) == 0o1777
    assert ((target / "setgid/inside").stat().st_gid, stat.S_IMODE((target / "setgid").stat().st_mode)) == (0, 0o2755)
    found = (target / "precise").stat()
    assert (found.st_mtime_ns, found.st_uid, found.st_gid) == (1_700_000_000_123_456_789, 1000, 50)
    assert (target / "deep/er/file").read_bytes() == b"deep"
    assert (target / "absolute").read_bytes() == b"root"
    assert stat.S_IMODE((target / "dev").stat().st_mode) == 0o755
    assert size == tree_size(target) == 4 + len("/anywhere") + 1 + 5 + 4 + 4 + 4


def test_whiteouts_become_overlays_own(target: Path) -> None:
    unpack(
        target,
        entry("etc/.wh.gone", b""),
        entry("var", mode=0o755),
        entry("var/.wh..wh..opq", b""),
        entry(".wh..wh.plnk/1.2", b"aufs"),
    )
    status = (target / "etc/gone").lstat()
    assert stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
    assert os.getxattr(target / "var", "trusted.overlay.opaque") == b"y"
    assert sorted(os.listdir(target)) == ["etc", "var"]
    assert os.listdir(target / "var") == []


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_directory_removed_and_made_anew_hides_the_one_below(target: Path, order: str) -> None:
    whiteout, directory = entry(".wh.data", b""), entry("data", mode=0o700)
    unpack(target, *((whiteout, directory) if order == "before" else (directory, whiteout)))
    assert os.getxattr(target / "data", "trusted.overlay.opaque") == b"y"
    assert stat.S_IMODE((target / "data").stat().st_mode) == 0o700


def test_extended_attributes(target: Path) -> None:
    capability = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    unpack(
        target,
        entry("ping", b"x", xattrs={"security.capability": capability, "user.note": "hello"}, uid=5),
        entry("dir", xattrs={"user.note": "dir"}),
        entry("hostile", xattrs={"trusted.overlay.redirect": "/etc", "trusted.overlay.opaque": "y"}),
    )
    assert os.getxattr(target / "ping", "security.capability") == capability.encode()
    assert os.getxattr(target / "ping", "user.note") == b"hello"
    assert os.getxattr(target / "dir", "user.note") == b"dir"
    assert os.listxattr(target / "hostile") == []


def test_later_members_replace_earlier_ones(target: Path) -> None:
    size = unpack(
        target,
        entry("a", b"first"),
        entry("a", b"second!"),
        entry("b", mode=0o755),
        entry("b/inside", b"lost"),
        entry("b", b"file"),
        entry("c", b"file"),
        entry("c", mode=0o711),
        entry("d", mode=0o755),
        entry("d/kept", b"kept"),
        entry("d", mode=0o700),
    )
    assert (target / "a").read_bytes() == b"second!"
    assert (target / "b").read_bytes() == b"file"
    assert (target / "c").is_dir()
    assert (target / "d/kept").read_bytes() == b"kept"
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o700
    assert size == 7 + 4 + 4


def test_many_directories_stay_within_the_limit_of_descriptors(target: Path) -> None:
    unpack(target, *(entry(f"d{number}/deep/file", b"x") for number in range(600)))
    assert len(list(target.rglob("file"))) == 600
    nested = "/".join("n" * 1 for _ in range(900))
    unpack(target, entry(f"{nested}/file", b"x"))
    assert (target / nested / "file").read_bytes() == b"x"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "victim").write_text("untouched")
    os.utime(directory, ns=(10**18, 10**18))
    return directory


@pytest.mark.parametrize(
    "hostile",
    [
        [entry("../outside/new", b"x")],
        [entry("a/../../outside/new", b"x")],
        [entry("../outside")],
        [entry("link", kind=HARD_LINK, link="../outside/victim"), entry("link", b"changed")],
        [entry("link", kind=HARD_LINK, link="a/../../outside/victim")],
        [entry(".wh..", b"")],
        [entry("d/.wh.", b"")],
        [entry("d/.wh...", b"")],
    ],
)
def test_paths_that_lead_out_are_refused(
    target: Path, outside: Path, hostile: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    with pytest.raises(TarError, match="invalid"):
        unpack(target, *hostile)
    assert sorted(os.listdir(outside)) == ["victim"]


@pytest.mark.parametrize("link", ["relative", "absolute"])
def test_symbolic_links_do_not_lead_out(target: Path, outside: Path, link: str) -> None:
    to = "../../../../../../../.." + str(outside) if link == "relative" else str(outside)
    unpack(
        target,
        entry("way", kind=SYMLINK, link=to),
        entry("way/new", b"x"),
        entry("way/victim", b"changed"),
        entry("way/.wh.victim", b""),
        entry("way/.wh..wh..opq", b""),
        entry("way/sub", mode=0o700),
        entry("hard", kind=HARD_LINK, link="way/new"),
    )
    assert (outside / "victim").read_text() == "untouched"
    assert sorted(os.listdir(outside)) == ["victim"]
    assert outside.stat().st_mtime_ns == 10**18
    assert (target / str(outside)[1:] / "new").read_bytes() == b"x"


def test_a_directory_swapped_for_a_link_does_not_lead_out(target: Path, outside: Path) -> None:
    unpack(
        target,
        entry("dir", mode=0o755),
        entry("dir/sub", mode=0o755),
        entry("dir", kind=SYMLINK, link=str(outside)),
        entry("dir/new", b"x"),
    )
    assert sorted(os.listdir(outside)) == ["victim"]
    assert outside.stat().st_mtime_ns == 10**18


def test_a_file_is_not_written_through_a_link(target: Path, outside: Path) -> None:
    unpack(target, entry("f", kind=SYMLINK, link=str(outside / "victim")), entry("f", b"changed", mode=0o777))
    assert (outside / "victim").read_text() == "untouched"
    assert (target / "f").read_bytes() == b"changed"


@pytest.mark.parametrize(
    "members",
    [
        [entry("loop", kind=SYMLINK, link="loop"), entry("loop/file", b"x")],
        [entry("a", kind=SYMLINK, link="b"), entry("b", kind=SYMLINK, link="a"), entry("a/file", b"x")],
        [entry("file", b"x"), entry("file/below", b"x")],
        [entry("link", kind=HARD_LINK, link="missing")],
        [entry("n" * 300, b"x")],
        [entry("/".join(["p" * 100] * 60), b"x")],
    ],
)
def test_what_no_file_system_can_hold_is_an_error(target: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with pytest.raises(OSError):
        unpack(target, *members)


def test_names_need_not_be_utf8(target: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as writer:
        info = tarfile.TarInfo(b"caf\xe9".decode("utf-8", "surrogateescape"))
        writer.addfile(info)
    apply(TarReader(io.BytesIO(stream.getvalue()).read), str(target))
    assert os.listdir(os.fsencode(target)) == [b"caf\xe9"]


@pytest.mark.parametrize("uid", [-1, 1 << 33])
def test_impossible_owners_are_refused(target: Path, uid: int) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as writer:
        info = tarfile.TarInfo("file")
        info.uid = uid
        writer.addfile(info)
    with pytest.raises(TarError):
        apply(TarReader(io.BytesIO(stream.getvalue()).read), str(target))
