"""`lightship doctor`: what is damaged is found, and made good where the blobs are whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import images as made
from lightship.api.command.main import main
from lightship.engine.engine import locked
from lightship.engine.images.images import Images

from .conftest import Opened, loaded

FILES = made.layer(made.entry("d", mode=0o750), made.entry("d/f", b"content", uid=3), made.entry("g", b"x" * 100))


@pytest.fixture
def layer(opened: Opened[Any], root: Path) -> Path:
    """An image's only layer, unpacked."""

    async def work(images: Images) -> Path:
        await loaded(images, made.docker_archive([made.Image(["x:1"], [FILES])]))
        return images.snapshotter.layer_path(images.get_image("x:1").diff_ids[0])

    found: Path = opened(work)
    return found


def doctor(root: Path, *flags: str) -> int:
    return main(["doctor", "--images", "--data-root", str(root), "--exec-root", str(root / "run"), *flags])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "content": lambda layer: (layer / "d/f").write_bytes(b"contenT"),
    "missing": lambda layer: (layer / "g").unlink(),
    "more": lambda layer: (layer / "more").write_bytes(b""),
    "mode": lambda layer: (layer / "d").chmod(0o777),
    "gone": lambda layer: shutil.rmtree(layer.parent),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_layer_is_unpacked_anew(
    opened: Opened[Any], root: Path, layer: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    DAMAGE[damage](layer)
    assert doctor(root) == 1
    assert ("not unpacked" if damage == "gone" else "damaged") in capsys.readouterr().out
    assert doctor(root, "--repair") == 0
    assert doctor(root) == 0
    assert capsys.readouterr().out.endswith("all images are whole\n")

    async def check(images: Images) -> None:
        found = images.snapshotter.layer_path(images.get_image("x:1").diff_ids[0])
        assert (found / "d/f").read_bytes() == b"content" and (found / "d").stat().st_mode & 0o777 == 0o750
        assert sorted(path.name for path in found.iterdir()) == ["d", "g"]

    opened(check)


def test_whiteouts_are_as_old_as_the_unpacking(
    opened: Opened[Any], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work(images: Images) -> None:
        hiding = made.layer(made.entry(".wh.g", b""), made.entry("d/.wh.f", b""))
        await loaded(images, made.docker_archive([made.Image(["x:1"], [FILES, hiding])]))
        directory = images.snapshotter.layer_path(images.get_image("x:1").diff_ids[1])
        for name in ("g", "d/f"):
            os.utime(directory / name, (0, 0))

    opened(work)
    assert doctor(root) == 0
    assert capsys.readouterr().out == "all images are whole\n"


def test_a_damaged_blob_is_told(root: Path, layer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blob = max((root / "content/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    assert doctor(root, "--repair") == 1
    assert f"blob sha256:{blob.name} is damaged" in capsys.readouterr().out


def test_not_beside_a_daemon_or_containers(root: Path, layer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(root):
        assert doctor(root) == 1
    assert "is in use by another lightshipd" in capsys.readouterr().err
    (root / "run/tasks/c").mkdir(parents=True)
    assert doctor(root, "--repair") == 1
    assert "containers are running" in capsys.readouterr().err
    assert doctor(root / "run") == 1


def test_the_age_of_a_directory_is_no_damage(root: Path, layer: Path) -> None:
    """Directories that an archive has no member for are as old as the unpacking."""
    os.utime(layer / "d", (1, 1))
    assert doctor(root) == 0
