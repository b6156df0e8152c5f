"""The command as people call it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Lightship = Callable[..., subprocess.CompletedProcess[str]]
COMMAND = [sys.executable, "-I", "-m", "lightship.api.command.main"]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ephemeral engines are made; short, for the path of a socket is."""
    path = tmp_path_factory.mktemp("c")
    monkeypatch.setenv("TMPDIR", str(path))
    return path


@pytest.fixture
def archive(folder: Path, base_archive: bytes) -> str:
    path = folder / "images.tar"
    path.write_bytes(base_archive)
    return str(path)


@pytest.fixture
def lightship(folder: Path) -> Lightship:
    def call(*words: str, timeout_s: float = 100) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words], capture_output=True, text=True, timeout=timeout_s, env=dict(os.environ)
        )

    return call
