"""Limits as the kernel has them: memory, cpus, cpu shares, cpuset, pids, oom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.engine import Engine, cgroups_below
from harness.http import Api

Sleeper = Callable[..., str]
V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()


def setting(engine: Engine, container: str, v1: str, v2: str) -> str:
    """A control file of the container's cgroup, read on the host."""
    if V2:
        return (Path("/sys/fs/cgroup") / engine.cgroup_parent.strip("/") / container / v2).read_text().strip()
    controller = v1.split(".")[0]
    return (Path("/sys/fs/cgroup") / controller / engine.cgroup_parent.strip("/") / container / v1).read_text().strip()


@pytest.mark.parametrize(
    ("flags", "v1", "v2", "value"),
    [
        (["--memory", "64m"], "memory.limit_in_bytes", "memory.max", "67108864"),
        (["--pids-limit", "42"], "pids.max", "pids.max", "42"),
        (["--pids-limit", "-1"], "pids.max", "pids.max", "max"),
        (["--cpuset-cpus", "0"], "cpuset.cpus", "cpuset.cpus", "0"),
    ],
)
def test_limits(engine: Engine, sleeper: Sleeper, flags: list[str], v1: str, v2: str, value: str) -> None:
    assert setting(engine, sleeper(*flags), v1, v2) == value


@pytest.mark.skipif(V2, reason="files of cgroup v1")
@pytest.mark.parametrize(
    ("flags", "file", "value"),
    [
        (["--cpu-shares", "512"], "cpu.shares", "512"),
        (["--cpus", "0.5"], "cpu.cfs_quota_us", "50000"),
        (["--cpu-period", "50000", "--cpu-quota", "20000"], "cpu.cfs_quota_us", "20000"),
        (["--memory", "64m", "--memory-swap", "128m"], "memory.memsw.limit_in_bytes", "134217728"),
        (["--memory", "64m", "--memory-reservation", "32m"], "memory.soft_limit_in_bytes", "33554432"),
        (["--memory", "64m", "--memory-swappiness", "10"], "memory.swappiness", "10"),
    ],
)
def test_limits_of_v1(engine: Engine, sleeper: Sleeper, flags: list[str], file: str, value: str) -> None:
    path = f"/sys/fs/cgroup/{file.split('.')[0]}/{file}"
    if not Path(path).exists() and "memsw" in file:
        pytest.skip("this kernel does not account for swap")
    assert setting(engine, sleeper(*flags), file, "") == value


@pytest.mark.skipif(not V2, reason="files of cgroup v2")
@pytest.mark.parametrize(
    ("flags", "file", "value"),
    [
        (["--cpu-shares", "512"], "cpu.weight", "59"),
        (["--cpus", "0.5"], "cpu.max", "50000 100000"),
        (["--cpu-period", "50000", "--cpu-quota", "20000"], "cpu.max", "20000 50000"),
        (["--cpu-period", "50000"], "cpu.max", "max 50000"),
        (["--cpuset-mems", "0"], "cpuset.mems", "0"),
        (["--memory", "64m"], "memory.swap.max", "67108864"),
        (["--memory", "64m", "--memory-swap", "96m"], "memory.swap.max", "33554432"),
        (["--memory", "64m", "--memory-swap", "-1"], "memory.swap.max", "max"),
        (["--memory", "64m", "--memory-reservation", "32m"], "memory.low", "33554432"),
        (["--memory", "64m", "--memory-swappiness", "10"], "memory.max", "67108864"),
    ],
)
def test_limits_of_v2(engine: Engine, sleeper: Sleeper, flags: list[str], file: str, value: str) -> None:
    assert setting(engine, sleeper(*flags), "", file) == value


def test_pids_limit_holds(docker: Docker) -> None:
    result = docker(
        "run", "--rm", "--pids-limit", "10", "busybox", "sh", "-c", "for n in $(seq 30); do sleep 1 & done; wait"
    )
    assert "can't fork" in result.err


def test_oom_is_reported(docker: Docker, api: Api, name: str) -> None:
    result = docker(
        "run", "--name", name, "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c", "exec tail /dev/zero"
    )
    assert result.code == 137
    state = api.json(f"/containers/{name}/json")["State"]
    assert (state["OOMKilled"], state["ExitCode"], state["Status"]) == (True, 137, "exited")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--memory", "1m"], "Minimum memory limit allowed is 6MB"),
        (["--memory", "64m", "--memory-swap", "32m"], "Minimum memoryswap limit should be larger than memory limit"),
        (["--memory-swap", "64m"], "You should always set the Memory limit when using Memoryswap limit"),
        (["--cpus", "1000"], "range of CPUs is from 0.01 to "),
        (["--cpuset-cpus", "99"], "Requested CPUs are not available - requested 99, available: "),
        (["--cpuset-cpus", "x"], "Invalid value x for cpuset cpus"),
        (["--cpu-period", "1"], "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"),
        (["--cpu-quota", "1"], "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        (["--cpus", "1", "--cpu-quota", "5000"], "Nano CPUs and CPU Quota cannot both be set"),
        (
            ["--memory-reservation", "64m", "--memory", "32m"],
            "Minimum memory limit can not be less than memory reservation limit",
        ),
        (["--memory-swappiness", "101"], "memory swappiness"),
        (["--oom-score-adj", "2000"], "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
        (["--shm-size", "-1"], "invalid size: '-1'"),
        (["--pids-limit", "x"], "invalid"),
    ],
)
def test_refused(docker: Docker, flags: list[str], text: str) -> None:
    assert text.lower() in docker.fails("run", "--rm", *flags, "busybox", "true", code=125).lower()


def test_cgroup_of_the_process(docker: Docker, engine: Engine, sleeper: Sleeper) -> None:
    container = sleeper()
    pid = docker.ok("inspect", "-f", "{{.State.Pid}}", container)
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    paths = {line.split(":", 2)[2] for line in lines if V2 or not line.startswith("0::")}
    assert paths == {f"{engine.cgroup_parent}/{container}"}


def test_a_parent_given(docker: Docker, engine: Engine) -> None:
    parent = f"{engine.cgroup_parent}/given"
    container = docker.ok("run", "-d", "--init", "--cgroup-parent", parent, "busybox", "sleep", "100")
    pid = docker.ok("inspect", "-f", "{{.State.Pid}}", container)
    assert f"{parent}/{container}" in Path(f"/proc/{pid}/cgroup").read_text()
    docker.ok("rm", "-f", container)
    for folder in cgroups_below(parent):
        folder.rmdir()  # dockerd leaves a parent that it was given
