"""`lightship up`, `down` and `status` of private engines, each in a network of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.docker import Docker
from lightship.api.command import place

from .conftest import Lightship


@pytest.fixture
def root(folder: Path, lightship: Lightship) -> Iterator[Path]:
    path = folder / "r"
    yield path
    lightship("down", "--root", str(path), "--containers")


def shown(lightship: Lightship, root: Path) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(lightship("status", "--json").stdout)
    return next((each for each in found if each["root"] == str(root)), {})


def test_a_private_engine(lightship: Lightship, root: Path, folder: Path, base_archive: bytes) -> None:
    before = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout
    done = lightship("up", "--root", str(root), "--label", "a=b", "-D")
    assert (done.returncode, done.stdout) == (0, f"export DOCKER_HOST=unix://{root}/docker.sock\n"), done.stderr
    assert subprocess.run(["ip", "-o", "link"], capture_output=True, text=True).stdout == before
    docker = Docker(f"unix://{root}/docker.sock", str(folder / "client"))
    assert docker.ok("info", "-f", "{{.Labels}} {{.DockerRootDir}}") == f"[a=b] {root}/data"
    docker.ok("load", stdin=base_archive)
    container = docker.ok("run", "-d", "busybox", "sleep", "1000")
    state = shown(lightship, root)
    assert (state["running"], state["containers_running"], state["pid"]) == (True, 1, place.Place(root).pid())

    again = lightship("up", "--root", str(root))
    assert again.returncode == 0 and "runs already" in again.stderr

    down = lightship("down", "--root", str(root))
    assert down.returncode == 0 and "1 containers go on" in down.stderr
    assert shown(lightship, root)["running"] is False
    assert lightship("up", "--root", str(root)).returncode == 0
    assert docker.ok("ps", "-q", "--no-trunc") == container

    assert lightship("down", "--root", str(root), "--containers").returncode == 0
    assert shown(lightship, root) == {} and not (root / "netns").exists()


def test_where_it_does_not_start_the_log_is_shown(lightship: Lightship, root: Path) -> None:
    done = lightship("up", "--root", str(root), "--group", "no-such-group")
    assert done.returncode == 1 and "group no-such-group not found" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["up", "--root", "/" + "x" * 120], "is too long for a unix socket"),
        (["up", "--root", "/tmp/x", "--nope"], "unknown flag: --nope"),
        (["down", "--nope"], "unrecognized arguments: --nope"),
    ],
)
def test_what_cannot_be_done_is_said(lightship: Lightship, words: list[str], message: str) -> None:
    done = lightship(*words)
    assert done.returncode != 0 and message in done.stderr


def test_down_without_an_engine(lightship: Lightship, folder: Path) -> None:
    done = lightship("down", "--root", str(folder / "none"))
    assert done.returncode == 0 and "no engine runs" in done.stderr


def test_a_context_is_made_and_used(
    lightship: Lightship, root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(folder / "client"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    docker = Docker("", str(folder / "client"))
    monkeypatch.setenv("PATH", f"{Path(docker.cli).parent}:{os.environ['PATH']}")
    for _ in range(2):  # made, then changed
        assert lightship("up", "--root", str(root), "--context", "lab").returncode == 0
    contexts = subprocess.run(
        [docker.cli, "context", "ls"], capture_output=True, text=True, env=dict(os.environ)
    ).stdout
    assert "lab *       " in contexts and f"unix://{root}/docker.sock" in contexts
