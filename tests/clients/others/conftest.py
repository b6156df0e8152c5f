"""Programs and libraries that people drive an engine with, each in a process of its own on the engine's host."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from harness import images
from harness.docker import Docker
from harness.engine import Engine

CACHE = Path(__file__).resolve().parents[3] / ".cache"
Script = Callable[..., str]


@pytest.fixture
def on_host(engine: Engine, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command on the engine's host, where it reaches published ports by localhost."""
    environment = {**engine.docker.env, "HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"}

    def run(*argv: str, env: Mapping[str, str] | None = None, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        # Its own group: what it has started goes with it where it hangs
        with engine.netns.entered():
            process = subprocess.Popen(
                argv,
                env=environment | dict(env or {}),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                process_group=0,
            )
        with process:
            try:
                out, err = process.communicate(timeout=100)
            except BaseException:
                os.killpg(process.pid, 9)
                raise
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    return run


@pytest.fixture
def python(on_host: Callable[..., subprocess.CompletedProcess[str]]) -> Script:
    """Run a Python program; return its output."""

    def run(source: str, **env: str) -> str:
        done = on_host(sys.executable, "-c", source, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def docker_in_image(docker: Docker, busybox_layer: bytes) -> str:
    """An image with busybox and the docker CLI, as tools have it that are given the engine's socket."""
    client = images.program_layer(docker.cli, "usr/bin/docker")
    image = images.Image(["tools:1"], [busybox_layer, client])
    docker.ok("load", stdin=images.docker_archive([image]))
    return "tools:1"
