"""Overlays of as many layers as Docker allows, the way of new kernels and the way of old ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lightship.engine.runtime import overlay
from lightship.engine.runtime.errors import RuntimeFailure

LAYERS = 128


def layers(root: Path, count: int = LAYERS) -> list[str]:
    for number in range(count):
        directory = root / str(number) / "fs"
        directory.mkdir(parents=True)
        (directory / f"file{number}").write_text(str(number))
        (directory / "same").write_text(str(number))
    return [str(root / str(number) / "fs") for number in range(count)]


@pytest.mark.parametrize("one_by_one", [True, False])
def test_layers_are_mounted_detached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_by_one: bool) -> None:
    if one_by_one and not overlay._ONE_BY_ONE:
        pytest.skip("this kernel takes layers by mount(2) alone")
    monkeypatch.setattr(overlay, "_ONE_BY_ONE", one_by_one)
    lower = layers(tmp_path)
    for name in ("upper", "work"):
        (tmp_path / "own" / name).mkdir(parents=True)
    entry = {"lower": lower, "upper": str(tmp_path / "own" / "upper"), "work": str(tmp_path / "own" / "work")}
    before, directory = Path("/proc/self/mountinfo").read_text(), os.getcwd()
    fd = overlay.new_overlay({**entry, "options": ["index=off"]}, in_own_namespace=False)
    try:
        root = Path(f"/proc/self/fd/{fd}")
        assert len(os.listdir(root)) == LAYERS + 1
        assert (root / "same").read_text() == "0", "the first layer is the top"
        (root / "new").write_text("x")
    finally:
        os.close(fd)
    assert (tmp_path / "own" / "upper" / "new").read_text() == "x"
    assert Path("/proc/self/mountinfo").read_text() == before
    assert os.getcwd() == directory


@pytest.mark.parametrize("one_by_one", [True, False])
def test_without_an_upper_directory_it_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_by_one: bool
) -> None:
    monkeypatch.setattr(overlay, "_ONE_BY_ONE", one_by_one and overlay._ONE_BY_ONE)
    fd = overlay.new_overlay({"lower": layers(tmp_path, 3), "options": ["ro"]}, in_own_namespace=False)
    try:
        with pytest.raises(OSError, match="Read-only"):
            Path(f"/proc/self/fd/{fd}/new").write_text("x")
    finally:
        os.close(fd)


def test_too_long_paths_are_refused_rather_than_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "_ONE_BY_ONE", False)
    long = [str(tmp_path / ("x" * 200) / str(number)) for number in range(30)] + [str(tmp_path / "y")]
    with pytest.raises(RuntimeFailure, match="their paths are too long"):
        overlay.new_overlay({"lower": long}, in_own_namespace=False)
