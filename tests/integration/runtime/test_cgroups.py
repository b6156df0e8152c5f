"""Limits, freezing, counting and removal of control groups on this host's hierarchy."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lightship.engine.runtime import container
from lightship.engine.runtime.cgroups import cgroup as cgroups
from lightship.engine.runtime.errors import RuntimeFailure

if TYPE_CHECKING:
    from .conftest import Bundle

v1_only = pytest.mark.skipif(
    not {"memory", "cpu", "pids"} <= set(cgroups.hierarchies().v1), reason="needs cgroup v1's memory, cpu and pids"
)


def limited(bundle: Bundle, resources: dict[str, Any], *args: str) -> dict[str, Any]:
    spec = bundle.spec(*args)
    spec["linux"]["resources"] |= resources
    return spec


@v1_only
def test_limits_are_written(bundle: Bundle) -> None:
    resources = {
        "memory": {"limit": 32 << 20, "reservation": 16 << 20, "swap": 64 << 20, "swappiness": 10},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"},
        "pids": {"limit": 33},
    }
    bundle.create(limited(bundle, resources, "true"))
    found = cgroups.hierarchies().v1
    for controller, name, value in (
        ("memory", "memory.limit_in_bytes", 32 << 20),
        ("memory", "memory.soft_limit_in_bytes", 16 << 20),
        ("memory", "memory.memsw.limit_in_bytes", 64 << 20),
        ("memory", "memory.swappiness", 10),
        ("cpu", "cpu.shares", 512),
        ("cpu", "cpu.cfs_quota_us", 50000),
        ("cpuset", "cpuset.cpus", 0),
        ("pids", "pids.max", 33),
    ):
        with open(f"{found[controller]}{bundle.cgroup_path}/{name}") as file:
            assert int(file.read()) == value, name
    container.update(bundle.state_dir, {"memory": {"limit": 128 << 20, "swap": 256 << 20}, "pids": {"limit": -1}})
    stats = container.cgroup(bundle.state_dir).stats()
    assert (stats["memory"]["limit"], stats["pids"]["limit"]) == (128 << 20, 2**64 - 1)


@v1_only
@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"cpu": {"shares": 1}}, "the minimum allowed cpu-shares is 2"),
        ({"memory": {"swappiness": 101}}, "invalid memory swappiness value: 101 (valid range is 0-100)"),
        ({"unified": {"memory.max": "1"}}, "invalid configuration: cannot use unified on cgroup v1"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, "cannot set hugetlb limit: container could not join"),
        ({"cpu": {"cpus": "999"}}, "cpuset.cpus"),
    ],
)
def test_impossible_limits_leave_nothing(bundle: Bundle, resources: dict[str, Any], text: str) -> None:
    with pytest.raises(RuntimeFailure) as raised:
        bundle.create(limited(bundle, resources, "true"))
    assert text in raised.value.message
    assert not any(map(os.path.exists, bundle.cgroup_directories()))


def test_pause_stops_everything(bundle: Bundle) -> None:
    init = bundle.start("sh", "-c", "sleep 1000 & wait")
    container.pause(bundle.state_dir)
    assert container.load(bundle.state_dir)["status"] == "paused"
    os.kill(init.pid, signal.SIGKILL)
    assert not _exits(init, 50)
    container.resume(bundle.state_dir)
    assert _exits(init, 5000)


def test_kill_works_on_a_paused_container(bundle: Bundle) -> None:
    init = bundle.start()
    container.pause(bundle.state_dir)
    container.kill(bundle.state_dir, signal.SIGKILL)
    assert _exits(init, 5000)


def _exits(init: container.Init, timeout_ms: int) -> bool:
    poll = select.poll()
    poll.register(init.pidfd, select.POLLIN)
    return bool(poll.poll(timeout_ms))


def test_forced_delete_kills_all(bundle: Bundle) -> None:
    init = bundle.start("sh", "-c", "sleep 1000 & sleep 1000 & wait")
    with pytest.raises(RuntimeFailure, match="that is not stopped: running"):
        container.delete(bundle.state_dir)
    container.delete(bundle.state_dir, force=True)
    assert bundle.reap(init) == -signal.SIGKILL
    with pytest.raises(RuntimeFailure, match="container does not exist"):
        container.load(bundle.state_dir)


@v1_only
def test_out_of_memory_is_told(bundle: Bundle) -> None:
    resources = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    init = bundle.create(limited(bundle, resources, "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"))
    group = container.cgroup(bundle.state_dir)
    fd = group.oom_fd()
    try:
        assert group.oom_kills() == 0
        init.start()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(10000)
        assert bundle.reap(init) == -signal.SIGKILL
        assert group.oom_kills() == 1
    finally:
        os.close(fd)


def test_a_group_in_use_is_not_shared(bundle: Bundle) -> None:
    bundle.start()
    other = type(bundle)(bundle.path, bundle.id)
    other.state_dir += "2"
    with pytest.raises(RuntimeFailure, match="container's cgroup is not empty"):
        other.create(other.spec("true"))
    assert len(container.pids(bundle.state_dir)) == 1


def test_a_frozen_group_is_refused(bundle: Bundle) -> None:
    """A container in it could never start, nor be killed."""
    freezer = next((path for path in bundle.cgroup_directories() if "/freezer/" in path), "")
    directory, name, word = (
        (freezer, "freezer.state", "FROZEN") if freezer else (bundle.cgroup_directories()[0], "cgroup.freeze", "1")
    )
    os.makedirs(directory)
    try:
        Path(directory, name).write_text(word)
        with pytest.raises(RuntimeFailure, match="container's cgroup unexpectedly frozen"):
            bundle.create(bundle.spec("true"))
    finally:
        os.rmdir(directory)


@v1_only
def test_exec_enters_groups_below_the_containers(bundle: Bundle) -> None:
    bundle.start()
    memory = next(path for path in bundle.cgroup_directories() if "/memory/" in path)
    os.mkdir(f"{memory}/inner")
    inside = bundle.execute("cat", "/proc/self/cgroup", groups={"memory": "inner"}).output
    assert f":memory:{bundle.cgroup_path}/inner\n" in inside
    assert f":pids:{bundle.cgroup_path}\n" in inside
    for groups, text in (
        ({"": ".."}, "bad sub cgroup path: .."),
        ({"": "nowhere"}, "error adding pid to cgroups: open .*/nowhere/tasks: no such file or directory"),
        ({"what": "/"}, "unknown controller what in SubCgroupPaths"),
    ):
        with pytest.raises(RuntimeFailure, match=text):
            bundle.execute("true", groups=groups)
