"""A data root where no overlay can be written to, as the root of a container: layers get a file system of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.engine import Lightshipd
from harness.images import Image, busybox_layer, docker_archive, entry, layer
from lightship.engine.errors import Internal
from lightship.engine.snapshots import room

pytestmark = pytest.mark.root


@pytest.fixture
def overlay(tmp_path: Path, isolated: None) -> Iterator[Path]:
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    paths = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    merged = tmp_path / "merged"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", paths, str(merged)], check=True)
    yield merged
    subprocess.run(["umount", str(merged)], check=True)


def test_an_engine_on_an_overlay(overlay: Path, tmp_path: Path) -> None:
    engine = Lightshipd(folder=str(overlay))
    docker = engine.docker
    whiteout = layer(entry("etc/.wh.group", b""), entry("made", b"made"))
    try:
        engine.start()
        docker.ok("load", stdin=docker_archive([Image(["busybox:latest"], [busybox_layer(), whiteout])]))
        assert (
            docker.ok(
                "run", "--name", "changed", "busybox", "sh", "-ec", "test ! -e /etc/group; rm /made; echo x > /new"
            )
            == ""
        )
        assert set(docker.ok("diff", "changed").splitlines()) == {"D /made", "A /new"}
        docker.ok("commit", "changed", "committed")
        assert docker.ok("info", "-f", "{{.Driver}} {{index .DriverStatus 0}}") == "overlay2 [Backing Filesystem ext4]"
        docker.ok("run", "-d", "--name", "stays", "busybox", "sleep", "1000")
        engine.kill()
        engine.start()
        assert docker.ok("exec", "stays", "cat", "/made") == "made"
        docker.ok("rm", "-f", "stays", "changed")
        engine.stop()
        assert not (engine.data_root / "snapshots").is_mount()
        engine.start()
        assert docker.ok("run", "--rm", "committed", "cat", "/new") == "x"
    finally:
        engine.destroy()
    left = (tmp_path / "upper").rglob("*")
    assert [path for path in left if path.is_file()] == []


def test_where_that_is_not_possible_either(overlay: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*command: str) -> None:
        raise FileNotFoundError(2, "No such file or directory", command[0])

    monkeypatch.setattr(room, "_run", refused)
    with pytest.raises(Internal, match="its file system cannot hold layers .*mkfs.ext4.*use another data root"):
        room.take(overlay / "snapshots")


def test_where_overlays_work_nothing_is_made(tmp_path: Path) -> None:
    room.take(tmp_path / "snapshots")
    assert [path.name for path in tmp_path.rglob("*")] == ["snapshots"]
