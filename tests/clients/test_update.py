"""`docker update`: limits and the restart policy of containers that exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from harness.docker import Docker
from harness.http import Api

MIB = 1 << 20


def host_config(api: Api, container: str) -> dict[str, Any]:
    found: dict[str, Any] = api.json(f"/containers/{container}/json")["HostConfig"]
    return found


def test_limits_of_a_running_container(docker: Docker, api: Api, sleeper: Callable[..., str]) -> None:
    container = sleeper("-m", "64m", "--pids-limit", "50")
    since = api.json("/info")["SystemTime"]
    docker.ok("update", "-m", "96m", "--memory-swap", "200m", "--cpu-shares", "512", "--cpus", "0.5", container)
    config = host_config(api, container)
    assert (config["Memory"], config["MemorySwap"], config["CpuShares"]) == (96 * MIB, 200 * MIB, 512)
    assert config["NanoCpus"] == 500_000_000 and config["PidsLimit"] == 50
    limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
    assert docker("exec", container, "sh", "-c", limit).line == str(96 * MIB)
    quota = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max"
    assert docker.ok("exec", container, "sh", "-c", quota) == "50000"
    until = api.json("/info")["SystemTime"]
    assert docker.ok("events", "--since", since, "--until", until, "--filter", "event=update", "--format", "{{.ID}}")


def test_limits_of_a_container_that_starts_later(docker: Docker, api: Api, name: str) -> None:
    limit = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null"
    docker.ok("create", "--name", name, "busybox", "sh", "-c", limit)
    docker.ok("update", "--pids-limit", "77", name)
    assert host_config(api, name)["PidsLimit"] == 77
    assert docker("start", "-a", name).line == "77"


def test_restart_policy_and_limits_at_once(docker: Docker, api: Api, sleeper: Callable[..., str]) -> None:
    container = sleeper()
    docker.ok("update", "--restart", "on-failure:3", "--cpu-shares", "300", container)
    config = host_config(api, container)
    assert config["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3} and config["CpuShares"] == 300


@pytest.mark.parametrize(
    ("flags", "request_", "status", "message"),
    [
        (["--cpus", "1"], {"CpuPeriod": 10000}, 409, "CPU Period cannot be updated as NanoCPUs has already been set"),
        (["--cpus", "1"], {"CpuQuota": 10000}, 409, "CPU Quota cannot be updated as NanoCPUs has already been set"),
        (
            ["--cpu-period", "10000"],
            {"NanoCpus": 10},
            409,
            "Nano CPUs cannot be updated as CPU Period has already been set",
        ),
        (
            ["-m", "64m"],
            {"Memory": 512 * MIB},
            409,
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ),
        (
            ["--rm"],
            {"RestartPolicy": {"Name": "always"}},
            409,
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        ),
    ],
)
def test_conflicts(
    docker: Docker, api: Api, flags: list[str], request_: dict[str, Any], status: int, message: str, name: str
) -> None:
    container = docker.ok("create", "--name", name, *flags, "busybox", "true")
    before = host_config(api, container)
    response = api.post(f"/containers/{container}/update", request_)
    assert response.status == status and response.message.startswith(f"Cannot update container {container}: ")
    assert (
        response.message.removeprefix("Cannot update container ")
        .partition(": ")[2]
        .removeprefix("Conflicting options: ")
        == message
    )
    assert host_config(api, container) == before


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({"Memory": 1}, 400, "Minimum memory limit allowed is 6MB"),
        ({"CpuQuota": 5}, 400, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        ({}, 404, "No such container: nope"),
    ],
)
def test_bad_values_come_before_a_missing_container(
    api: Api, request_: dict[str, Any], status: int, message: str
) -> None:
    response = api.post("/containers/nope/update", request_)
    assert (response.status, response.message) == (status, message)
