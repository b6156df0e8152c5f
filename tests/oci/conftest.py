"""podman of the distribution, with its own storage in the test's directory and `lightship-runtime` in crun's place."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import images

RUNTIME = str(Path(sys.executable).with_name("lightship-runtime"))
BUSYBOX = "docker.io/library/busybox:latest"
LIMIT_S = 60

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def run(*line: str, **options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, capture_output=True, text=True, timeout=LIMIT_S, check=False, **options)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with a short name: both put sockets below it."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "busybox.tar"
    path.write_bytes(images.docker_archive([images.Image([BUSYBOX], [images.busybox_layer()])]))
    return path


@pytest.fixture
def podman(folder: Path, archive: Path) -> Iterator[Command]:
    if shutil.which("podman") is None:
        pytest.skip("needs podman")
    common = ("podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--runtime", RUNTIME)
    common += ("--cgroup-manager", "cgroupfs", "--events-backend", "file", "--tmpdir", f"{folder}/tmp")

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        if words[0] == "run":
            # What it asks for otherwise may be more than this machine's root has.
            words = (
                "run",
                "--network",
                "none",
                "--ulimit",
                "nofile=1000:1000",
                "--ulimit",
                "nproc=1000:1000",
                *words[1:],
            )
        return run(*common, *words)

    loaded = command("load", "-i", str(archive))
    assert loaded.returncode == 0, loaded.stderr
    yield command
    command("rm", "-fa", "-t", "0")
    command("system", "reset", "-f")
