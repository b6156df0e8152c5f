"""What systemd is told of a container's scope, and how it goes over the wire; tests/integration asks a real one."""

from __future__ import annotations

import pytest
from lightship.engine.runtime.cgroups import systemd, v2_systemd
from lightship.engine.runtime.errors import RuntimeFailure

MAX = 2**64 - 1


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("system.slice", "/system.slice"),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
        ("-.slice", ""),
    ],
)
def test_slices_are_below_each_other(name: str, path: str) -> None:
    assert v2_systemd.slice_path(name) == path


@pytest.mark.parametrize("name", ["a--b.slice", "-a.slice", ".slice"])
def test_names_that_are_no_slices(name: str) -> None:
    with pytest.raises(RuntimeFailure, match="invalid slice name"):
        v2_systemd.slice_path(name)


@pytest.mark.parametrize(
    ("path", "is_systemds"),
    [
        ("system.slice:docker:abc", True),
        (":runc:abc", True),
        ("a.slice::abc", True),
        ("/a:b:c", False),
        ("a.slice:b:c/d", False),
        ("a:b:c", False),
        ("", False),
        ("a.slice", False),
    ],
)
def test_paths_meant_for_systemd(path: str, is_systemds: bool) -> None:
    assert v2_systemd.is_path(path) is is_systemds


def test_a_scope_is_in_its_slice() -> None:
    made = v2_systemd.make("/cgroup", "a-b.slice:docker:abc")
    assert made.describe() == {
        "version": 2,
        "root": "/cgroup",
        "path": "/a.slice/a-b.slice/docker-abc.scope",
        "unit": "docker-abc.scope",
    }
    assert v2_systemd.make("/cgroup", "::abc").describe()["path"] == "/system.slice/abc.scope"


def test_limits_in_systemds_words() -> None:
    resources = {
        "memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20},
        "cpu": {"shares": 512, "quota": 33333, "period": 50000, "cpus": "0,2-3,9", "mems": "0"},
        "pids": {"limit": 50},
    }
    assert v2_systemd.properties(resources) == [
        ("MemoryMax", ("t", 64 << 20)),
        ("MemoryLow", ("t", 32 << 20)),
        ("MemorySwapMax", ("t", 32 << 20)),
        ("CPUWeight", ("t", 59)),
        ("CPUQuotaPeriodUSec", ("t", 50000)),
        ("CPUQuotaPerSecUSec", ("t", 670000)),
        ("AllowedCPUs", ("ay", b"\x0d\x02")),
        ("AllowedMemoryNodes", ("ay", b"\x01")),
        ("TasksMax", ("t", 50)),
    ]
    unlimited = {"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}
    assert dict(v2_systemd.properties(unlimited)) == dict.fromkeys(
        ("MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec", "TasksMax"), ("t", MAX)
    )
    assert v2_systemd.properties({"devices": []}) == []


def test_values_survive_the_wire() -> None:
    signature = "(sba(sv)ayta(sa(sv)))"
    value = ["näme", 1, [["A", ["s", "x"]], ["B", ["t", MAX]]], b"\x01\x02", 7, [["u", []]]]
    out = bytearray(b"abc")
    systemd._put(out, signature, value)
    found, end = systemd._get(bytes(out), 3, signature)
    assert found == ["näme", 1, [["A", "x"], ["B", MAX]], [1, 2], 7, [["u", []]]] and end == len(out)
    assert systemd._parts("ssa(sv)a(sa(sv))u") == ["s", "s", "a(sv)", "a(sa(sv))", "u"]


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "SOCKET", "/nonexistent/socket")
    with pytest.raises(RuntimeFailure, match="unable to reach systemd: no such file or directory"):
        systemd.Manager()
