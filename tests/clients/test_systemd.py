"""Containers whose control groups systemd makes (`native.cgroupdriver=systemd`); `make vm` has a systemd."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.engine import ON_DOCKERD, Engine

GROUPS = Path("/sys/fs/cgroup")
pytestmark = [
    pytest.mark.skipif(
        not (GROUPS / "cgroup.controllers").exists() or not os.path.isdir("/run/systemd/system"),
        reason="needs systemd with cgroup v2",
    ),
    pytest.mark.skipif(ON_DOCKERD, reason="started with the other driver"),
]
PARENT = "lightshiptest.slice"


def test_containers_are_scopes(private_engine: Callable[..., Engine]) -> None:
    engine = private_engine("--exec-opt", "native.cgroupdriver=systemd", "--cgroup-parent", PARENT)
    docker = engine.docker
    assert docker.ok("info", "-f", "{{.CgroupDriver}} {{.CgroupVersion}}") == "systemd 2"
    container = docker.ok("run", "-d", "--init", "-m", "64m", "--cpus", "0.5", "busybox", "sleep", "1000")
    group = GROUPS / PARENT / f"docker-{container}.scope"
    assert (group / "memory.max").read_text() == f"{64 << 20}\n" and (group / "cpu.max").read_text() == "50000 100000\n"
    docker.ok("update", "-m", "96m", "--memory-swap", "-1", container)
    assert (group / "memory.max").read_text() == f"{96 << 20}\n"
    assert docker.ok("exec", container, "cat", "/proc/self/cgroup") == "0::/"
    docker.ok("pause", container)
    assert "frozen 1" in (group / "cgroup.events").read_text()
    docker.ok("unpause", container)
    docker.ok("restart", "-t", "5", container)
    engine.restart()
    assert docker.ok("exec", container, "cat", "/sys/fs/cgroup/memory.max") == str(96 << 20)
    docker.ok("rm", "-f", container)
    assert not group.exists()
    listed = subprocess.run(
        ["systemctl", "list-units", "--all", "docker-*"], capture_output=True, text=True, check=True
    )
    assert container not in listed.stdout


def test_a_container_that_runs_out_of_memory(private_engine: Callable[..., Engine]) -> None:
    """systemd removes the group as soon as it is empty: what the kernel counted is read before."""
    docker = private_engine("--exec-opt", "native.cgroupdriver=systemd", "--cgroup-parent", PARENT).docker
    limits = ["-m", "16m", "--memory-swap", "16m"]
    for number in range(3):
        docker("run", "--name", f"oom{number}", *limits, "busybox", "tail", "/dev/zero")
        told = docker.ok("inspect", "-f", "{{.State.OOMKilled}} {{.State.ExitCode}}", f"oom{number}")
        assert told == "true 137"


def test_parents_are_slices(private_engine: Callable[..., Engine]) -> None:
    docker = private_engine("--exec-opt", "native.cgroupdriver=systemd", "--cgroup-parent", PARENT).docker
    told = docker.ok("run", "--rm", "--cgroup-parent", "lightshiptest-a.slice", "--cgroupns", "host", "busybox",
                     "cat", "/proc/self/cgroup")  # fmt: skip
    assert told.startswith(f"0::/{PARENT}/lightshiptest-a.slice/docker-") and told.endswith(".scope")
    wrong = 'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"'
    for parent in ("/given", "given", ".slice"):
        assert wrong in docker.fails("run", "--rm", "--cgroup-parent", parent, "busybox", "true", code=125)


def test_other_runtimes_ask_systemd_too(private_engine: Callable[..., Engine]) -> None:
    runtime = "--add-runtime=other=/usr/sbin/runc"
    docker = private_engine("--exec-opt", "native.cgroupdriver=systemd", "--cgroup-parent", PARENT, runtime).docker
    container = docker.ok("run", "-d", "--runtime", "other", "-m", "64m", "busybox", "sleep", "1000")
    group = GROUPS / PARENT / f"docker-{container}.scope"
    assert (group / "memory.max").read_text() == f"{64 << 20}\n"
    docker.ok("stats", "--no-stream", container)
    docker.ok("rm", "-f", container)
    assert not group.exists()
