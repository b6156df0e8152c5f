"""Scopes that a real systemd makes; `make vm` has one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lightship.engine.runtime import container
from lightship.engine.runtime.cgroups import cgroup as cgroups

if TYPE_CHECKING:
    from .conftest import Bundle

pytestmark = pytest.mark.skipif(
    bool(cgroups.hierarchies().v1) or not os.path.isdir("/run/systemd/system"), reason="needs systemd with cgroup v2"
)
SLICE = "lightshiptest.slice"


@pytest.fixture(autouse=True)
def in_a_slice(bundle: Bundle) -> None:
    bundle.cgroups_path = f"{SLICE}:docker:{bundle.id}"
    bundle.cgroup_path = f"/{SLICE}/docker-{bundle.id}.scope"


def shown(bundle: Bundle, *names: str) -> dict[str, str]:
    command = ["systemctl", "show", f"docker-{bundle.id}.scope", *(f"-p{name}" for name in names)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def contents(bundle: Bundle, *names: str) -> list[str]:
    return [Path("/sys/fs/cgroup" + bundle.cgroup_path, name).read_text().strip() for name in names]


def test_a_containers_life(bundle: Bundle) -> None:
    init = bundle.start()
    assert shown(bundle, "ActiveState", "Slice", "Delegate") == {
        "ActiveState": "active",
        "Slice": SLICE,
        "Delegate": "yes",
    }
    assert container.pids(bundle.state_dir) == [init.pid]
    assert bundle.execute("cat", "/proc/self/cgroup").output == f"0::{bundle.cgroup_path}\n"
    container.pause(bundle.state_dir)
    assert container.load(bundle.state_dir)["status"] == "paused"
    container.resume(bundle.state_dir)
    container.delete(bundle.state_dir, force=True)
    bundle.reap(init)
    for _ in range(3):  # the same scope again, faster than systemd sees that it is over
        assert bundle.sh("cat /proc/self/cgroup").output == f"0::{bundle.cgroup_path}\n"


def test_limits_outlive_a_reload_of_systemd(bundle: Bundle) -> None:
    spec = bundle.spec("sleep", "1000")
    spec["linux"]["resources"] |= {
        "memory": {"limit": 32 << 20, "swap": 64 << 20, "reservation": 16 << 20},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"},
        "pids": {"limit": 33},
    }
    bundle.create(spec).start()
    names = ("memory.max", "memory.swap.max", "memory.low", "cpu.weight", "cpu.max", "cpuset.cpus", "pids.max")
    values = [str(32 << 20), str(32 << 20), str(16 << 20), "59", "50000 100000", "0", "33"]
    assert contents(bundle, *names) == values
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert contents(bundle, *names) == values
    more = {"memory": {"limit": 64 << 20, "swap": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}
    container.update(bundle.state_dir, more)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    changed = ["memory.max", "memory.swap.max", "cpu.max", "pids.max", "cpu.weight"]
    assert contents(bundle, *changed) == [str(64 << 20), "max", "max 100000", "max", "59"]
    # Devices are ours to keep: systemd has not put its own rules in their place.
    assert "not permitted" in bundle.execute("sh", "-c", "mknod /d b 254 0; dd if=/d of=/dev/null count=1").output


def test_bad_limits_leave_no_scope(bundle: Bundle) -> None:
    spec = bundle.spec("true")
    spec["linux"]["resources"]["unified"] = {"memory.max": "much"}
    with pytest.raises(container.RuntimeFailure, match=r"memory\.max: invalid argument"):
        bundle.create(spec)
    assert not os.path.exists("/sys/fs/cgroup" + bundle.cgroup_path)
