"""`docker stats`: what containers use, once and as a stream."""

from __future__ import annotations

import json
from collections.abc import Callable

import docker as docker_py
from harness.docker import Docker
from harness.http import Api


def test_one_sample(docker: Docker, api: Api, sleeper: Callable[..., str]) -> None:
    container = sleeper("-m", "64m", "--pids-limit", "50")
    docker.ok("exec", container, "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
    found = api.json(f"/containers/{container}/stats?stream=0")
    assert found["id"] == container and found["preread"] < found["read"]
    assert found["cpu_stats"]["cpu_usage"]["total_usage"] >= found["precpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert found["cpu_stats"]["system_cpu_usage"] > found["precpu_stats"]["system_cpu_usage"]
    assert found["cpu_stats"]["online_cpus"] > 0
    assert found["memory_stats"]["limit"] == 64 << 20 and 0 < found["memory_stats"]["usage"] < 64 << 20
    assert found["memory_stats"]["stats"]["pgfault"] > 0
    assert found["pids_stats"]["limit"] == 50 and found["pids_stats"]["current"] >= 2
    assert found["networks"]["eth0"].keys() >= {"rx_bytes", "tx_dropped"} and found["blkio_stats"][
        "sectors_recursive"
    ] in ([], None)


def test_every_count_of_memory_is_there(docker: Docker, api: Api) -> None:
    """What the kernel does not count is 0, never missing; without a limit v2 tells the greatest number of processes."""
    container = docker.ok("run", "-d", "busybox", "sleep", "1000")
    found = api.json(f"/containers/{container}/stats?stream=0&one-shot=1")
    counts = set(found["memory_stats"]["stats"])
    if docker.ok("info", "-f", "{{.CgroupVersion}}") == "1":
        assert len(counts) == 32 and {"total_rss_huge", "hierarchical_memsw_limit", "dirty"} <= counts
        assert "limit" not in found["pids_stats"] and found["memory_stats"]["max_usage"] > 0
        assert found["cpu_stats"]["cpu_usage"]["percpu_usage"]
    else:
        assert len(counts) == 31 and {"anon", "workingset_refault", "thp_collapse_alloc"} <= counts
        assert found["pids_stats"]["limit"] == 2**64 - 1 and "max_usage" not in found["memory_stats"]
        assert "percpu_usage" not in found["cpu_stats"]["cpu_usage"]
        assert found["blkio_stats"]["io_serviced_recursive"] is None


def test_one_shot_compares_with_nothing(api: Api, sleeper: Callable[..., str]) -> None:
    found = api.json(f"/containers/{sleeper()}/stats?stream=0&one-shot=1")
    assert found["preread"].startswith("0001") and found["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert found["cpu_stats"]["cpu_usage"]["total_usage"] > 0


def test_zeros_where_nothing_runs(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "--name", name, "busybox", "true")
    found = api.json(f"/containers/{name}/stats?stream=0")
    assert found["read"].startswith("0001") and found["memory_stats"] == {} and "networks" not in found
    assert docker.ok("stats", "--no-stream", "--format", "{{.MemUsage}}", name) == "0B / 0B"
    assert api.get("/containers/nope/stats").message == "No such container: nope"


def test_a_network_that_is_not_its_own(api: Api, sleeper: Callable[..., str]) -> None:
    assert "networks" not in api.json(f"/containers/{sleeper('--network', 'host')}/stats?stream=0&one-shot=1")


def test_stream(client: docker_py.DockerClient, sleeper: Callable[..., str]) -> None:
    container = client.containers.get(sleeper())
    samples = container.stats(decode=True, stream=True)
    first, second = next(samples), next(samples)
    assert first["preread"].startswith("0001") and second["preread"] == first["read"]
    container.remove(force=True)
    assert all(sample["id"] == container.id for sample in samples)


def test_cli(docker: Docker, sleeper: Callable[..., str]) -> None:
    container = sleeper()
    shown = json.loads(docker.ok("stats", "--no-stream", "--format", "json", container))
    assert shown["ID"] == container[:12] and shown["PIDs"] == "2" and shown["CPUPerc"].endswith("%")
