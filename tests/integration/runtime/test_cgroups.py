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

V1 = cgroups.hierarchies().v1
v1_only = pytest.mark.skipif(not {"memory", "cpu", "pids"} <= set(V1), reason="needs cgroup v1's memory, cpu and pids")
v2_only = pytest.mark.skipif(bool(V1), reason="needs cgroup v2")


def limited(bundle: Bundle, resources: dict[str, Any], *args: str) -> dict[str, Any]:
    spec = bundle.spec(*args)
    spec["linux"]["resources"] |= resources
    return spec


@v1_only
def test_limits_are_written(bundle: Bundle) -> None:
    resources = {
        "memory": {
            "limit": 32 << 20,
            "reservation": 16 << 20,
            "swap": 64 << 20,
            "swappiness": 10,
            "kernelTCP": 8 << 20,
        },
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
        ("memory", "memory.kmem.tcp.limit_in_bytes", 8 << 20),
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


@v2_only
def test_limits_are_written_to_v2(bundle: Bundle) -> None:
    resources = {
        "memory": {"limit": 32 << 20, "reservation": 16 << 20, "swap": 64 << 20},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 33},
        "unified": {"memory.high": str(24 << 20), "cgroup.max.depth": "3"},
    }
    bundle.create(limited(bundle, resources, "true"))
    assert contents(bundle) == {
        "memory.max": str(32 << 20),
        "memory.low": str(16 << 20),
        "memory.high": str(24 << 20),
        "memory.swap.max": str(32 << 20),
        "cpu.weight": "59",
        "cpu.max": "50000 100000",
        "cpuset.cpus": "0",
        "cpuset.mems": "0",
        "pids.max": "33",
        "cgroup.max.depth": "3",
    }
    more = {"memory": {"limit": 128 << 20, "swap": -1}, "cpu": {"quota": -1, "period": 100000}, "pids": {"limit": -1}}
    container.update(bundle.state_dir, more)
    found = contents(bundle)
    assert (found["memory.max"], found["memory.swap.max"], found["cpu.max"]) == (str(128 << 20), "max", "max 100000")
    stats = container.cgroup(bundle.state_dir).stats()
    assert (stats["memory"]["limit"], stats["pids"]["limit"]) == (128 << 20, 2**64 - 1)


def contents(bundle: Bundle) -> dict[str, str]:
    names = "memory.max memory.low memory.high memory.swap.max cpu.weight cpu.max cpuset.cpus cpuset.mems pids.max"
    directory = Path(bundle.cgroup_directories()[0])
    return {name: (directory / name).read_text().strip() for name in (*names.split(), "cgroup.max.depth")}


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


@v2_only
@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"unified": {"memory.nosuch": "1"}}, "memory.nosuch: no such file or directory"),
        ({"unified": {"memory.max": "much"}}, "memory.max: invalid argument"),
        ({"unified": {"../memory.max": "1"}}, 'unified resource "../memory.max" must be a file name'),
        ({"memory": {"swap": 64 << 20}}, "unable to set swap limit without memory limit"),
        ({"memory": {"limit": 64 << 20, "swap": 32 << 20}}, "memory+swap limit should be >= memory limit"),
        ({"cpu": {"realtimeRuntime": 1000}}, "cgroup v2 has no realtime limits"),
        ({"cpu": {"cpus": "999"}}, "cpuset.cpus"),
    ],
)
def test_impossible_limits_of_v2_leave_nothing(bundle: Bundle, resources: dict[str, Any], text: str) -> None:
    with pytest.raises(RuntimeFailure) as raised:
        bundle.create(limited(bundle, resources, "true"))
    assert text in raised.value.message
    assert not any(map(os.path.exists, bundle.cgroup_directories()))


def test_pause_stops_everything(bundle: Bundle) -> None:
    reader, writer = os.pipe()
    script = "trap 'exit 3' USR1; echo ready; while :; do sleep 1000 & wait; done"
    init = bundle.create(bundle.spec("sh", "-c", script), output_fd=writer)
    os.close(writer)
    init.start()
    os.read(reader, 6)  # now it has the trap; on v2 a SIGKILL would end it frozen too
    os.close(reader)
    container.pause(bundle.state_dir)
    assert container.load(bundle.state_dir)["status"] == "paused"
    os.kill(init.pid, signal.SIGUSR1)
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


def test_out_of_memory_is_told(bundle: Bundle) -> None:
    resources = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    init = bundle.create(limited(bundle, resources, "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"))
    group = container.cgroup(bundle.state_dir)
    fd = group.oom_fd()
    try:
        assert group.oom_kills() == 0
        init.start()
        poll = select.poll()
        poll.register(fd, select.POLLIN if V1 else select.POLLPRI)
        assert poll.poll(10000)
        assert bundle.reap(init) == -signal.SIGKILL
        assert group.oom_kills() == 1
        assert V1 or b"oom_kill 1\n" in os.pread(fd, 4096, 0)
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


@v2_only
def test_exec_enters_a_group_below_the_containers_of_v2(bundle: Bundle) -> None:
    bundle.start()
    directory = bundle.cgroup_directories()[0]
    os.mkdir(f"{directory}/inner")
    assert bundle.execute("cat", "/proc/self/cgroup", groups={"": "inner"}).output == f"0::{bundle.cgroup_path}/inner\n"
    for groups, text in (
        ({"": ".."}, "bad sub cgroup path: .."),
        ({"": "nowhere"}, "error adding pid to cgroups: open .*/nowhere: no such file or directory"),
        ({"memory": "/"}, "unknown controller memory in SubCgroupPaths"),
    ):
        with pytest.raises(RuntimeFailure, match=text):
            bundle.execute("true", groups=groups)


@v2_only
def test_exec_follows_an_init_that_left_its_group(bundle: Bundle) -> None:
    """As systemd in a container does: a group with controllers for those below takes no process itself."""
    init = bundle.start()
    directory = Path(bundle.cgroup_directories()[0])
    (directory / "init.scope").mkdir()
    (directory / "init.scope" / "cgroup.procs").write_text(str(init.pid))
    (directory / "cgroup.subtree_control").write_text("+memory +pids")
    inside = bundle.execute("cat", "/proc/self/cgroup").output
    assert inside == f"0::{bundle.cgroup_path}/init.scope\n"
    assert init.pid in container.pids(bundle.state_dir)


@v2_only
def test_a_relative_path_is_beside_the_callers_group(bundle: Bundle) -> None:
    """The caller's own has processes, and could not hand controllers down."""
    spec = bundle.spec("cat", "/proc/self/cgroup")
    spec["linux"]["cgroupsPath"] = f"beside/{bundle.id}"
    own = Path("/proc/self/cgroup").read_text().strip().removeprefix("0::")
    parent = f"{os.path.dirname(own).rstrip('/')}/beside"
    try:
        assert bundle.run(spec).output == f"0::{parent}/{bundle.id}\n"
    finally:
        os.rmdir(f"/sys/fs/cgroup{parent}")


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
