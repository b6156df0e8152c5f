"""Extracting into a tree that is in use: nothing outside of its root is ever touched, whatever links are in it."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightship.engine.snapshots.extract import Extractor
from lightship.engine.snapshots.tar import TarError, TarReader

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files owners")


def archive(*members: tuple[str, bytes, str]) -> io.BytesIO:
    """Members as (name, type, data or link)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, 0o755
            data = content.encode() if kind == tarfile.REGTYPE else b""
            member.size, member.linkname = len(data), "" if data else content
            tar.addfile(member, io.BytesIO(data))
    stream.seek(0)
    return stream


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "root" / "dst").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    yield tmp_path / "root"
    assert os.listdir(tmp_path / "outside") == [], "something left the root"


def extract(root: Path, data: io.BytesIO, *, to: bytes = b"/dst", keeps_kinds: bool = False) -> None:
    root_fd = os.open(root, os.O_PATH)
    try:
        reader = TarReader(data.read)
        with Extractor(reader, root_fd, to, keeps_kinds=keeps_kinds, owner=None) as extractor:
            while (entry := reader.next()) is not None:
                extractor.add(entry)
            extractor.finish()
    finally:
        os.close(root_fd)


def test_files_and_implied_directories(root: Path) -> None:
    extract(
        root, archive(("a/b/c", tarfile.REGTYPE, "text"), ("./d", tarfile.DIRTYPE, ""), ("/e", tarfile.REGTYPE, "e"))
    )
    assert (
        (root / "dst/a/b/c").read_text() == "text" and (root / "dst/d").is_dir() and (root / "dst/e").read_text() == "e"
    )


def test_names_of_marks_are_ordinary(root: Path) -> None:
    extract(root, archive((".wh.x", tarfile.REGTYPE, "1"), (".wh..wh..opq", tarfile.REGTYPE, "2")))
    assert (root / "dst/.wh.x").read_text() == "1" and (root / "dst/.wh..wh..opq").read_text() == "2"


@pytest.mark.parametrize("link", ["../../outside", "{outside}", "../../../../../../../{outside}"])
def test_links_in_the_archive_and_in_the_tree(root: Path, link: str) -> None:
    target = link.format(outside=root.parent / "outside")
    (root / "dst/there").symlink_to(target)
    data = archive(
        ("here", tarfile.SYMTYPE, target), ("here/f", tarfile.REGTYPE, "x"), ("there/f", tarfile.REGTYPE, "x")
    )
    extract(root, data)
    assert os.readlink(root / "dst/here") == target


def test_links_are_replaced_not_followed(root: Path) -> None:
    victim = root.parent / "victim"
    victim.write_text("safe")
    victim.chmod(0o600)
    for name in ("file", "directory", "node"):
        (root / "dst" / name).symlink_to(victim)
    extract(
        root,
        archive(("file", tarfile.REGTYPE, "x"), ("directory", tarfile.DIRTYPE, ""), ("node", tarfile.FIFOTYPE, "")),
    )
    assert victim.read_text() == "safe" and victim.stat().st_mode & 0o777 == 0o600
    assert (root / "dst/file").read_text() == "x" and not (root / "dst/directory").is_symlink()


def test_hard_links_stay_inside(root: Path) -> None:
    (root.parent / "victim").write_text("safe")
    (root / "victim").write_text("inside")
    with pytest.raises(TarError, match='invalid hardlink target "../../victim"'):
        extract(root, archive(("l", tarfile.LNKTYPE, "../../victim")))
    (root / "dst/up").symlink_to("..")
    extract(root, archive(("l", tarfile.LNKTYPE, "up/victim")))
    assert (root / "dst/l").read_text() == "inside"


def test_names_that_lead_out(root: Path) -> None:
    with pytest.raises(TarError, match='invalid entry name "../x"'):
        extract(root, archive(("../x", tarfile.REGTYPE, "")))


def test_kinds_are_kept_where_asked(root: Path) -> None:
    (root / "dst/d").mkdir()
    (root / "dst/f").touch()
    with pytest.raises(TarError, match='cannot overwrite directory "d" with non-directory "/dst"'):
        extract(root, archive(("d", tarfile.REGTYPE, "x")), keeps_kinds=True)
    with pytest.raises(TarError, match='cannot overwrite non-directory "f" with directory "/dst"'):
        extract(root, archive(("f", tarfile.DIRTYPE, "")), keeps_kinds=True)
    extract(root, archive(("d", tarfile.REGTYPE, "x"), ("f", tarfile.DIRTYPE, "")))
    assert (root / "dst/d").is_file() and (root / "dst/f").is_dir()


def test_a_directory_that_becomes_a_link_after_it_was_made(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The container swaps what was just made for a link, before owner and mode are set (CVE-2018-15664)."""
    victim = root.parent / "victim"
    victim.mkdir(mode=0o700)
    make = os.mkdir

    def swap(path: bytes, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        make(path, mode, dir_fd=dir_fd)
        os.rmdir(path, dir_fd=dir_fd)
        os.symlink(victim, path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", swap)
    with pytest.raises(OSError, match="not supported"):
        extract(root, archive(("d", tarfile.DIRTYPE, "")))
    assert victim.stat().st_mode & 0o777 == 0o700
