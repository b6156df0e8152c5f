"""Control groups without a kernel's: the v2 driver on a plain directory, device programs in a small eBPF machine."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from lightship.engine.runtime.cgroups import cgroup, devices, v2_devices, v2_limits
from lightship.engine.runtime.cgroups.v2 import V2
from lightship.engine.runtime.errors import RuntimeFailure


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A v2 tree as far as files go: /docker exists and has its controllers enabled."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
    group = tmp_path / "docker"
    group.mkdir()
    (group / "cgroup.subtree_control").write_text("cpu memory pids\n")
    return tmp_path


FILES = [
    *("cpu.weight", "cpu.max", "cpu.max.burst", "cpu.idle", "cpuset.cpus", "cpuset.mems", "memory.max", "memory.low"),
    *("memory.swap.max", "memory.high", "pids.max", "io.weight", "io.max"),
]


@pytest.fixture
def group(tree: Path) -> Path:
    path = tree / "docker/c"
    path.mkdir()
    for name in FILES:
        (path / name).write_text("")
    return path


def written(group: Path) -> dict[str, str]:
    return {name: text for name in FILES if (text := (group / name).read_text())}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"memory": {"limit": 100, "swap": 300}}, {"memory.max": "100", "memory.swap.max": "200"}),
        ({"memory": {"limit": 100, "swap": 100}}, {"memory.max": "100", "memory.swap.max": "0"}),
        ({"memory": {"limit": 100, "swap": -1}}, {"memory.max": "100", "memory.swap.max": "max"}),
        ({"memory": {"limit": -1}}, {"memory.max": "max", "memory.swap.max": "max"}),
        ({"memory": {"reservation": 50}}, {"memory.low": "50"}),
        ({"cpu": {"shares": 1024, "quota": 5000}}, {"cpu.weight": "100", "cpu.max": "5000 100000"}),
        ({"cpu": {"quota": -1, "period": 7}}, {"cpu.max": "max 7"}),
        ({"cpu": {"cpus": "0-1", "mems": "0", "idle": 1}}, {"cpuset.cpus": "0-1", "cpuset.mems": "0", "cpu.idle": "1"}),
        ({"pids": {"limit": 0}}, {"pids.max": "1"}),
        ({"pids": {"limit": -1}}, {"pids.max": "max"}),
        ({"blockIO": {"weight": 10}}, {"io.weight": "1"}),
        ({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}]}}, {"io.max": "8:0 rbps=9"}),
        ({"memory": {"limit": 5}, "unified": {"memory.high": "4"}}, {"memory.max": "5", "memory.high": "4"}),
        ({}, {}),
    ],
)
def test_limits_of_v1_become_files_of_v2(
    tree: Path, group: Path, resources: dict[str, Any], expected: dict[str, str]
) -> None:
    V2(str(tree), "/docker/c").apply(resources)
    assert written(group) == expected


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"memory": {"swap": 5}}, "unable to set swap limit without memory limit"),
        ({"memory": {"limit": 9, "swap": 5}}, "memory+swap limit should be >= memory limit"),
        ({"unified": {"../x": "1"}}, "must be a file name"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, "no such file or directory"),
    ],
)
def test_impossible_limits(tree: Path, group: Path, resources: dict[str, Any], text: str) -> None:
    with pytest.raises(RuntimeFailure) as raised:
        V2(str(tree), "/docker/c").apply(resources)
    assert text in raised.value.message


def test_shares_fit_weights_at_both_ends_and_by_default() -> None:
    assert [v2_limits.weight_of_shares(shares) for shares in (1, 2, 1024, 262144, 10**6)] == [1, 1, 100, 10000, 10000]


def test_a_group_that_cannot_be_limited_is_removed_again(tree: Path) -> None:
    with pytest.raises(RuntimeFailure):
        V2(str(tree), "/docker/new").create({"pids": {"limit": 3}})
    assert not (tree / "docker/new").exists()


def test_controllers_are_enabled_on_the_way_down(tree: Path) -> None:
    (tree / "docker/cgroup.subtree_control").write_text("cpu")
    V2(str(tree), "/docker/c").create({})
    assert (tree / "docker/cgroup.subtree_control").read_text().startswith("+pids")  # the last of two


def test_statistics(tree: Path, group: Path) -> None:
    for name, text in {
        "cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 1\nnr_throttled 1\nthrottled_usec 4\n",
        "memory.current": "10\n",
        "memory.max": "max\n",
        "memory.stat": "anon 1\nfile 2\n",
        "memory.events": "low 0\noom 2\noom_kill 1\n",
        "pids.current": "3\n",
        "pids.max": "7\n",
        "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
    }.items():
        (group / name).write_text(text)
    driver = V2(str(tree), "/docker/c")
    stats = driver.stats()
    assert (stats["cpu"]["usage_ns"], stats["cpu"]["throttling"]["throttled_ns"]) == (5000, 4000)
    assert (stats["memory"]["usage"], stats["memory"]["limit"], stats["memory"]["stat"]) == (
        10,
        2**64 - 1,
        {"anon": 1, "file": 2},
    )
    assert stats["pids"] == {"current": 3, "limit": 7}
    assert [entry["value"] for entry in stats["blkio"]["io_service_bytes_recursive"]] == [1, 2]
    assert driver.oom_kills() == 1


def test_pids_of_the_whole_subtree_and_removal(tree: Path) -> None:
    inner = tree / "docker/c/inner/deep"
    inner.mkdir(parents=True)
    driver = V2(str(tree), "/docker/c")
    (tree / "docker/c/cgroup.procs").write_text("1\n2\n")
    (inner / "cgroup.procs").write_text("3\n")
    assert driver.pids() == [1, 2, 3]
    (tree / "docker/c/cgroup.procs").unlink()
    (inner / "cgroup.procs").unlink()
    driver.delete()
    assert not (tree / "docker/c").exists()
    driver.delete()


def test_mount_table() -> None:
    found = cgroup.parse_mountinfo(
        "30 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "31 25 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
        "32 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "33 25 0:29 / / rw - ext4 /dev/x rw\n"
    )
    assert found.unified == "/sys/fs/cgroup/unified"
    assert found.v1 == {"systemd": "/sys/fs/cgroup/systemd", "cpu,cpuacct": "/sys/fs/cgroup/cpu,cpuacct"}


@pytest.mark.parametrize(
    ("path", "place"), [("/a/../../b", "/b"), ("", "/own/id"), ("x/../../y", "/own/y"), ("//a", "/a")]
)
def test_places_stay_inside_the_hierarchy(path: str, place: str) -> None:
    assert cgroup._place(path, "id", "/own") == place


def allows(program: bytes, kind: str, access: str, major: int, minor: int) -> bool:
    """Run a device program."""
    wanted = sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access)
    context = [wanted << 16 | {"b": 1, "c": 2}[kind], major, minor]
    registers = [0] * 11
    code = [struct.unpack_from("=BBhI", program, at) for at in range(0, len(program), 8)]
    at = 0
    while True:
        op, packed, offset, immediate = code[at]
        to, source = packed & 15, packed >> 4
        at += 1
        if op == 0x61:
            registers[to] = context[offset // 4]
        elif op == 0x54:
            registers[to] &= immediate
        elif op == 0x74:
            registers[to] >>= immediate
        elif op == 0xBC:
            registers[to] = registers[source]
        elif op == 0xB7:
            registers[to] = immediate
        elif op == 0x95:
            return bool(registers[0])
        elif {
            0x56: registers[to] != immediate,
            0x16: registers[to] == immediate,
            0x5E: registers[to] != registers[source],
        }[op]:
            at += offset


def test_device_programs() -> None:
    program = v2_devices.program(
        [
            {"allow": True, "type": "c", "major": 9, "access": "rwm"},
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "b", "major": 8, "minor": 1, "access": "r"},
            {"allow": True, "type": "c", "major": 10, "access": "rw"},
            {"allow": False, "type": "c", "major": 10, "minor": 3, "access": "w"},
        ]
    )
    assert (
        allows(program, "b", "r", 8, 1) and not allows(program, "b", "rw", 8, 1) and not allows(program, "b", "r", 8, 2)
    )
    assert (
        allows(program, "c", "rw", 10, 2) and allows(program, "c", "r", 10, 3) and not allows(program, "c", "rw", 10, 3)
    )
    assert (
        allows(program, "c", "rwm", 1, 3) and allows(program, "c", "m", 77, 7) and not allows(program, "c", "r", 9, 0)
    )
    everything = v2_devices.program([{"allow": False}, {"allow": True}])
    assert allows(everything, "b", "rwm", 200, 200)


def test_device_rules() -> None:
    assert devices.effective([{"allow": False}, {"allow": True, "type": "a", "access": "rwm"}]) == (True, [])
    allow_all, rules = devices.effective([{"allow": True, "type": "c", "major": 1, "access": "r"}])
    assert not allow_all and devices.text(rules[0]) == "c 1:* r"
    for bad in ({"type": "x"}, {"access": "q"}, {"type": "a", "major": 1}):
        with pytest.raises(RuntimeFailure):
            devices.effective([bad])
