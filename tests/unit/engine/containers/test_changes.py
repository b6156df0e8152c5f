"""`docker diff` on two trees: what overlayfs leaves in the upper directory, against what is below it."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from lightship.engine.containers.changes import ADDED, DELETED, MODIFIED, compare

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for overlayfs's marks")


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Path, Path]:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    (lower / "d" / "inner").mkdir(parents=True)
    (lower / "d" / "file").write_text("below")
    (lower / "d" / "inner" / "deep").write_text("below")
    upper.mkdir()
    return upper, lower


def found(layers: tuple[Path, Path]) -> dict[str, int]:
    fds = [os.open(path, os.O_RDONLY) for path in layers]
    try:
        changes = compare(*fds)
    finally:
        for fd in fds:
            os.close(fd)
    assert len(dict(changes)) == len(changes), "told twice"
    return dict(changes)


def copy_up(layers: tuple[Path, Path], path: str) -> Path:
    """What overlayfs does when something is opened for writing."""
    upper, lower = layers
    for parent in reversed(Path(path).parents[:-1]):
        (upper / parent).mkdir(exist_ok=True)
        shutil.copystat(lower / parent, upper / parent)
    if (lower / path).is_dir():
        (upper / path).mkdir()
        shutil.copystat(lower / path, upper / path)
    else:
        shutil.copy2(lower / path, upper / path)
    return upper / path


def test_nothing_but_a_copy_up(layers: tuple[Path, Path]) -> None:
    copy_up(layers, "d/inner/deep")
    assert found(layers) == {}


def test_a_changed_file_and_what_it_is_in(layers: tuple[Path, Path]) -> None:
    copy_up(layers, "d/inner/deep").write_text("changed")
    assert list(found(layers).items()) == [("/d", MODIFIED), ("/d/inner", MODIFIED), ("/d/inner/deep", MODIFIED)]


def test_added_and_deleted(layers: tuple[Path, Path]) -> None:
    copy_up(layers, "d")
    os.mknod(layers[0] / "d/file", stat.S_IFCHR, 0)
    os.mknod(layers[0] / "d/never-was", stat.S_IFCHR, 0)
    (layers[0] / "new").mkdir()
    (layers[0] / "new" / "f").touch()
    assert found(layers) == {"/d": MODIFIED, "/d/file": DELETED, "/new": ADDED, "/new/f": ADDED}


def test_modes_and_owners_count_times_of_directories_do_not(layers: tuple[Path, Path]) -> None:
    os.utime(copy_up(layers, "d/inner"), (1, 1))
    assert found(layers) == {}
    os.chown(layers[0] / "d/inner", 5, 5)
    assert found(layers) == {"/d": MODIFIED, "/d/inner": MODIFIED}


def test_whole_seconds_are_the_same_time(layers: tuple[Path, Path]) -> None:
    upper_file = copy_up(layers, "d/file")
    os.utime(layers[1] / "d/file", ns=(0, 5_000_000_000))
    os.utime(upper_file, ns=(0, 5_000_000_123))
    assert found(layers) == {}
    os.utime(upper_file, ns=(0, 6_000_000_000))
    assert found(layers)["/d/file"] == MODIFIED


def test_a_directory_made_anew(layers: tuple[Path, Path]) -> None:
    copy_up(layers, "d")
    os.setxattr(layers[0] / "d", "trusted.overlay.opaque", b"y")
    (layers[0] / "d" / "file").write_text("another")
    assert found(layers) == {"/d": MODIFIED, "/d/file": MODIFIED, "/d/inner": DELETED}


def test_a_file_in_place_of_a_directory(layers: tuple[Path, Path]) -> None:
    (layers[0] / "d").write_text("file")
    assert found(layers) == {"/d": MODIFIED}


def test_links_of_an_image_lead_nowhere(layers: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "f").touch()
    (layers[1] / "l").symlink_to(tmp_path / "host")
    (layers[0] / "l").mkdir()
    (layers[0] / "l" / "f").touch()
    assert found(layers) == {"/l": MODIFIED, "/l/f": ADDED}
