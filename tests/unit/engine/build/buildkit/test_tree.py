"""A directory made of what a client tells: what differs is asked for, nothing reaches outside."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from lightship.engine.build.buildkit.modes import from_go, to_go
from lightship.engine.build.buildkit.protocol.session_pb2 import Stat
from lightship.engine.build.buildkit.tree import Tree
from lightship.engine.errors import InvalidArgument

DIRECTORY, LINK = 1 << 31 | 0o755, 1 << 27 | 0o777
OWNER = {"uid": os.getuid(), "gid": os.getgid()}


def told(path: str, mode: int = 0o644, **more: object) -> Stat:
    return Stat(path=path, mode=mode, modified_ns=10**18, **OWNER, **more)


def fill(directory: Path, stats: list[Stat], contents: dict[str, bytes]) -> list[str]:
    """Receive the files; return the paths of those whose content was asked for."""
    tree = Tree(directory)
    wanted = tree.prepare(stats)
    for id in wanted:
        data = contents[stats[id].path]
        tree.write([(id, data[:3]), (id, data[3:]), (id, b"")] if data[3:] else [(id, data), (id, b"")])
    assert tree.wanted == 0
    tree.close()
    tree.finish()
    return [stats[id].path for id in wanted]


def test_files_directories_and_links(tmp_path):
    stats = [
        told("a", 0o640, size=5),
        told("d", DIRECTORY),
        told("d/hard", linkname="a"),
        told("d/link", LINK, linkname="../../etc/passwd"),
        told("d/pipe", 1 << 25 | 0o600),
        told("run", 1 << 23 | 0o755, size=1),
    ]
    assert fill(tmp_path, stats, {"a": b"hello", "run": b"x"}) == ["a", "run"]
    assert (tmp_path / "a").read_bytes() == b"hello"
    assert (tmp_path / "a").stat().st_mtime_ns == 10**18
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert (tmp_path / "d/hard").samefile(tmp_path / "a")
    assert os.readlink(tmp_path / "d/link") == "../../etc/passwd"
    assert stat.S_ISFIFO((tmp_path / "d/pipe").stat().st_mode)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o4755
    assert (tmp_path / "d").stat().st_mtime_ns == 10**18


def test_only_what_differs_is_asked_for(tmp_path):
    stats = [told("a", size=1), told("b", size=1), told("c", size=1)]
    fill(tmp_path, stats, {"a": b"1", "b": b"2", "c": b"3"})
    shared = tmp_path.parent / f"{tmp_path.name}-shared"
    os.link(tmp_path / "b", shared)
    changed = [told("a", size=1), Stat(path="b", mode=0o644, size=1, modified_ns=5, **OWNER)]
    assert fill(tmp_path, changed, {"b": b"4"}) == ["b"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert (tmp_path / "b").read_bytes() == b"4"
    assert shared.read_bytes() == b"2"  # of an earlier build's result, say


def test_kinds_change(tmp_path):
    fill(tmp_path, [told("x", DIRECTORY), told("x/y", size=1), told("z", LINK, linkname="x")], {"x/y": b"1"})
    assert fill(tmp_path, [told("x", size=2), told("z", DIRECTORY), told("z/y", size=1)], {"x": b"22", "z/y": b"3"})
    assert (tmp_path / "x").read_bytes() == b"22"
    assert (tmp_path / "z/y").read_bytes() == b"3"


def test_a_link_in_the_way_is_not_followed(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "d").symlink_to(outside)
    fill(inside, [told("d", DIRECTORY), told("d/f", size=1)], {"d/f": b"1"})
    assert os.listdir(outside) == []
    assert (inside / "d/f").read_bytes() == b"1"


@pytest.mark.parametrize(
    "stats",
    [
        [told("../a")],
        [told("/a")],
        [told("a/b")],
        [told("a//b")],
        [told("")],
        [told("a"), told("a")],
        [told("b"), told("a")],
        [told("l", LINK, linkname="/etc"), told("l/passwd")],
        [told("f"), told("f/g")],
        [told("h", linkname="../../etc/passwd")],
        [told("l", LINK, linkname="/etc/passwd"), told("m", linkname="l")],
        [told("a\0b")],
        [told("i", 1 << 19 | 0o644)],
    ],
)
def test_what_could_reach_outside_is_refused(tmp_path, stats):
    with pytest.raises(InvalidArgument):
        Tree(tmp_path).prepare(stats)
    assert os.listdir(tmp_path) == []


def test_data_that_nobody_asked_for_is_refused(tmp_path):
    tree = Tree(tmp_path)
    tree.prepare([told("a", size=1), told("d", DIRECTORY)])
    with pytest.raises(InvalidArgument, match="invalid file request 1"):
        tree.write([(1, b"x")])


def test_slash_sorts_before_all_else(tmp_path):
    """As fsutil walks: what is in `a` comes before `a.b`."""
    assert Tree(tmp_path).prepare([told("a", DIRECTORY), told("a/z"), told("a.b")]) == [1, 2]


@pytest.mark.parametrize(
    ("go", "unix"),
    [
        (0o644, stat.S_IFREG | 0o644),
        (1 << 31 | 0o755, stat.S_IFDIR | 0o755),
        (1 << 31 | 1 << 20 | 0o777, stat.S_IFDIR | 0o1777),
        (1 << 27 | 0o777, stat.S_IFLNK | 0o777),
        (1 << 25 | 0o600, stat.S_IFIFO | 0o600),
        (1 << 24 | 0o600, stat.S_IFSOCK | 0o600),
        (1 << 26 | 0o660, stat.S_IFBLK | 0o660),
        (1 << 26 | 1 << 21 | 0o660, stat.S_IFCHR | 0o660),
        (1 << 23 | 1 << 22 | 0o755, stat.S_IFREG | 0o6755),
    ],
)
def test_modes_there_and_back(go, unix):
    assert from_go(go) == unix
    assert to_go(unix) == go
