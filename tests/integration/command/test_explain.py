"""`lightship explain`: what it says is what the kernel has."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.docker import Docker

from .conftest import Lightship


@pytest.fixture
def docker(lightship: Lightship, folder: Path, base_archive: bytes) -> Iterator[Docker]:
    """A client of a private engine that has busybox."""
    root = folder / "r"
    assert lightship("up", "--root", str(root)).returncode == 0
    client = Docker(f"unix://{root}/docker.sock", str(folder / "client"))
    try:
        client.ok("load", stdin=base_archive)
        yield client
    finally:
        lightship("down", "--root", str(root), "--containers")


def explained(lightship: Lightship, folder: Path, name: str) -> dict[str, Any]:
    done = lightship("explain", "--root", str(folder / "r"), "--json", name)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_container(lightship: Lightship, folder: Path, docker: Docker) -> None:
    container = docker.ok(
        "run", "-d", "--name", "web", "-p", "8080:80", "-m", "64m", "-v", "/tmp:/x", "busybox", "sleep", "99"
    )
    other = docker.ok("run", "-d", "--name", "beside", "--network", "container:web", "busybox", "sleep", "99")
    found = explained(lightship, folder, "web")
    pid = int(docker.ok("inspect", "-f", "{{.State.Pid}}", "web"))
    assert found["container"]["id"] == container
    assert [each["pid"] for each in found["processes"]][0] == pid

    steps = [step["step"] for step in found["timeline"]]
    assert steps[0] == "the daemon begins" and steps[-1] == "started the program"
    assert steps.index("cloned the first process") < steps.index("changed the root")
    times = [step["ms"] for step in found["timeline"]]
    assert times == sorted(times) and 0 < times[-1] < 60_000

    owners = {each["name"]: each["owner"] for each in found["namespaces"]}
    assert (owners["net"], owners["pid"], owners["user"]) == ("its own", "its own", "the engine's")
    mounts = {mount["target"]: mount for mount in found["mounts"]}
    assert mounts["/"]["type"] == "overlay" and "lowerdir" in mounts["/"]["layers"]
    assert all(mounts[target]["ms"] for target in ("/", "/proc", "/dev", "/x", "/etc/hosts"))
    values = [write["value"] for write in found["control_groups"]["writes"]]
    assert str(64 << 20) in values
    (endpoint,) = found["network"]["endpoints"]
    address = docker.ok("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "web")
    assert endpoint["address"] == f"{address}/16" and "0.0.0.0:8080 -> 80/tcp" in found["network"]["published"]
    assert any(address in line for line in found["network"]["kernel"])
    assert "CAP_CHOWN" in found["confinement"]["capabilities"] and found["confinement"]["kernel"]["Seccomp"] == "2"
    assert all(os.path.exists(each["path"]) for each in found["files"])

    joined = {each["name"]: each["owner"] for each in explained(lightship, folder, other)["namespaces"]}
    assert joined["net"] == f"container {container[:12]}"
    text = lightship("explain", "--root", str(folder / "r"), "web").stdout
    assert all(f"\n{title}\n" in text for title in ("Timeline", "Mounts", "Control groups", "Network", "Files"))
    assert "\033[" not in text


def test_what_does_not_run_or_is_not_there(lightship: Lightship, folder: Path, docker: Docker) -> None:
    docker.ok("create", "--name", "still", "busybox", "true")
    for name, message in (("still", "does not run"), ("nope", "No such container: nope")):
        done = lightship("explain", "--root", str(folder / "r"), name)
        assert done.returncode == 1 and message in done.stderr


def test_the_engine_of_the_environment(
    lightship: Lightship, folder: Path, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.ok("run", "-d", "--name", "web", "busybox", "sleep", "99")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/r/docker.sock")
    assert lightship("explain", "web").returncode == 0
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert "is no engine of this host" in lightship("explain", "web").stderr
