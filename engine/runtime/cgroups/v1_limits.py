"""OCI linux.resources written to the files of cgroup v1, in the order in which the kernel accepts them."""

from __future__ import annotations

import errno
import os
from itertools import groupby

from ..errors import RuntimeFailure
from . import devices, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def apply(paths: dict[str, str], resources: dict[str, Any]) -> None:
    """Write what `resources` names; a limit whose controller is not mounted is an error, not a wish."""
    if resources.get("unified"):
        raise RuntimeFailure("invalid_argument", "invalid configuration: cannot use unified on cgroup v1")
    if memory := resources.get("memory"):
        _memory(_path(paths, "memory"), memory)
    if cpu := resources.get("cpu"):
        _cpu(paths, cpu)
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None:
        # 0 cannot be meant: a container has one process. runc writes 1 as well.
        files.write(_path(paths, "pids"), "pids.max", "max" if limit < 0 else limit or 1)
    if block_io := resources.get("blockIO"):
        _block_io(_path(paths, "blkio"), block_io)
    for page in resources.get("hugepageLimits") or ():
        _huge_pages(_path(paths, "hugetlb"), page)
    for device, limits in (resources.get("rdma") or {}).items():
        _rdma(_path(paths, "rdma"), device, limits)
    _network(paths, resources.get("network") or {})
    if "devices" in resources and "devices" in paths:
        _devices(paths["devices"], resources["devices"] or [])


def _path(paths: dict[str, str], controller: str) -> str:
    if controller not in paths:
        message = f"cannot set {controller} limit: container could not join or create cgroup"
        raise RuntimeFailure("invalid_argument", message)
    return paths[controller]


def inherit_cpuset(path: str) -> None:
    """Give a new cpuset its nearest ancestor's processors and memory nodes: an empty one takes no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if files.read(path, name):
            continue
        parent = os.path.dirname(path)
        inherited = files.read(parent, name)
        if not inherited:
            inherit_cpuset(parent)
            inherited = files.read(parent, name)
        files.write(path, name, inherited)


def _memory(path: str, memory: dict[str, Any]) -> None:
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if limit == -1 and not swap and files.exists(path, "memory.memsw.limit_in_bytes"):
        swap = -1
    # The kernel keeps limit <= memsw at every moment, so a growing pair starts with memsw.
    swap_first = limit and swap and (swap == -1 or files.number(path, "memory.limit_in_bytes") < swap)
    if swap_first:
        files.write(path, "memory.memsw.limit_in_bytes", swap)
    if limit:
        _memory_limit(path, limit)
    if swap and not swap_first:
        files.write(path, "memory.memsw.limit_in_bytes", swap)
    # Those of the kernel's memory as a whole are gone from current kernels; runc ignores them too.
    if memory.get("kernelTCP"):
        files.write(path, "memory.kmem.tcp.limit_in_bytes", memory["kernelTCP"])
    if memory.get("reservation"):
        files.write(path, "memory.soft_limit_in_bytes", memory["reservation"])
    if memory.get("disableOOMKiller"):
        files.write(path, "memory.oom_control", 1)
    swappiness = memory.get("swappiness")
    if swappiness is not None and swappiness not in (-1, 2**64 - 1):
        if swappiness > 100:
            message = f"invalid memory swappiness value: {swappiness} (valid range is 0-100)"
            raise RuntimeFailure("invalid_argument", message)
        files.write(path, "memory.swappiness", swappiness)


def _memory_limit(path: str, limit: int) -> None:
    try:
        files.write(path, "memory.limit_in_bytes", limit)
    except RuntimeFailure as failure:
        if failure.errno != errno.EBUSY:
            raise
        usage, peak = (files.number(path, f"memory.{name}") for name in ("usage_in_bytes", "max_usage_in_bytes"))
        message = f"unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})"
        raise RuntimeFailure("invalid_argument", message, errno.EBUSY) from failure


def _cpu(paths: dict[str, str], cpu: dict[str, Any]) -> None:
    for key, name in (("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")):
        if cpu.get(key):
            files.write(_path(paths, "cpuset"), name, cpu[key])
    # Of these 0 is a value like any other.
    given = {key for key in ("burst", "idle") if cpu.get(key) is not None}
    if not given and not any(cpu.get(key) for key in cpu if key not in ("cpus", "mems")):
        return
    path = _path(paths, "cpu")
    _real_time(path, cpu)
    if cpu.get("shares"):
        files.write(path, "cpu.shares", cpu["shares"])
        accepted = files.number(path, "cpu.shares")
        if accepted != cpu["shares"]:
            bound = "maximum" if cpu["shares"] > accepted else "minimum"
            raise RuntimeFailure("invalid_argument", f"the {bound} allowed cpu-shares is {accepted}")
    # The kernel refuses a pair that exceeds the parent's in between: what it refuses first is tried after the quota.
    pair = (("cpu.cfs_period_us", cpu.get("period") or None), ("cpu.cfs_burst_us", cpu.get("burst")))
    late = [
        (name, value)
        for name, value in pair
        if value is not None and not _write_early(path, name, value, retry=bool(cpu.get("quota")))
    ]
    if cpu.get("quota"):
        files.write(path, "cpu.cfs_quota_us", cpu["quota"])
    for name, value in late:
        files.write(path, name, value)
    if cpu.get("idle") is not None:
        files.write(path, "cpu.idle", cpu["idle"])


def _real_time(path: str, cpu: dict[str, Any]) -> None:
    period, runtime = cpu.get("realtimePeriod") or 0, cpu.get("realtimeRuntime") or 0
    late = period and not _write_early(path, "cpu.rt_period_us", period, retry=bool(runtime))
    if runtime:
        files.write(path, "cpu.rt_runtime_us", runtime)
    if late:
        files.write(path, "cpu.rt_period_us", period)


def _write_early(path: str, name: str, value: int, *, retry: bool) -> bool:
    """Write a value; say False where the kernel refuses it and another one can still make room."""
    try:
        files.write(path, name, value)
    except RuntimeFailure as failure:
        if failure.errno == errno.ENOENT and name == "cpu.cfs_burst_us":
            return True  # before Linux 5.14
        if failure.errno != errno.EINVAL or not retry:
            raise
        return False
    return True


def _block_io(path: str, block_io: dict[str, Any]) -> None:
    weight_file = "blkio.weight" if files.exists(path, "blkio.weight") else "blkio.bfq.weight"
    if block_io.get("weight"):
        files.write(path, weight_file, block_io["weight"])
    if block_io.get("leafWeight"):
        files.write(path, "blkio.leaf_weight", block_io["leafWeight"])
    for device in block_io.get("weightDevice") or ():
        number = f"{device['major']}:{device['minor']}"
        if device.get("weight"):
            files.write(path, f"{weight_file}_device", f"{number} {device['weight']}")
        if device.get("leafWeight"):
            files.write(path, "blkio.leaf_weight_device", f"{number} {device['leafWeight']}")
    for key, name in (
        ("throttleReadBpsDevice", "read_bps"),
        ("throttleWriteBpsDevice", "write_bps"),
        ("throttleReadIOPSDevice", "read_iops"),
        ("throttleWriteIOPSDevice", "write_iops"),
    ):
        for device in block_io.get(key) or ():
            value = f"{device['major']}:{device['minor']} {device['rate']}"
            files.write(path, f"blkio.throttle.{name}_device", value)


def _huge_pages(path: str, page: dict[str, Any]) -> None:
    prefix = f"hugetlb.{page['pageSize']}"
    files.write(path, f"{prefix}.limit_in_bytes", page["limit"])
    if files.exists(path, f"{prefix}.rsvd.limit_in_bytes"):
        files.write(path, f"{prefix}.rsvd.limit_in_bytes", page["limit"])


def _rdma(path: str, device: str, limits: dict[str, Any]) -> None:
    words = [f"{name}={limits[key]}" for key, name in _RDMA if limits.get(key) is not None]
    files.write(path, "rdma.max", " ".join([device, *words]))


_RDMA = (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))


def _network(paths: dict[str, str], network: dict[str, Any]) -> None:
    if network.get("classID"):
        files.write(_path(paths, "net_cls"), "net_cls.classid", network["classID"])
    for interface in network.get("priorities") or ():
        files.write(_path(paths, "net_prio"), "net_prio.ifpriomap", f"{interface['name']} {interface['priority']}")


def _devices(path: str, rules: list[dict[str, Any]]) -> None:
    allow_all, kept = devices.effective(rules)
    files.write(path, "devices.allow" if allow_all else "devices.deny", "a")
    for allow, rules_in_a_row in groupby(kept, key=lambda rule: rule[0]):
        files.write(path, "devices.allow" if allow else "devices.deny", *map(devices.text, rules_in_a_row))
