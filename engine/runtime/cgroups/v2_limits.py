"""OCI linux.resources, which is worded for v1, converted to the files of cgroup v2."""

from __future__ import annotations

import errno
import math

from ..errors import RuntimeFailure
from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_SHARES = 262144


def apply(directory: str, resources: dict[str, Any]) -> None:
    """Write what `resources` names. `unified` comes last: it is the user's own word and wins."""
    if memory := resources.get("memory"):
        _memory(directory, memory)
    if cpu := resources.get("cpu"):
        _cpu(directory, cpu)
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None:
        files.write(directory, "pids.max", "max" if limit < 0 else limit or 1)
    if block_io := resources.get("blockIO"):
        _io(directory, block_io)
    for page in resources.get("hugepageLimits") or ():
        _huge_pages(directory, page)
    for device, limits in (resources.get("rdma") or {}).items():
        words = [f"{name}={limits[key]}" for key, name in _RDMA if limits.get(key) is not None]
        files.write(directory, "rdma.max", " ".join([device, *words]))
    for name, value in (resources.get("unified") or {}).items():
        _unified(directory, name, value)


_RDMA = (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))


def _memory(directory: str, memory: dict[str, Any]) -> None:
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if memory.get("checkBeforeUpdate") and limit > 0:
        usage = files.number(directory, "memory.current")
        if usage > limit:
            text = f"rejecting memory limit {limit} because the current usage is {usage}"
            raise RuntimeFailure("invalid_argument", text)
    swap_text = swap_max(swap, limit)
    if swap_text:
        try:
            files.write(directory, "memory.swap.max", swap_text)
        except RuntimeFailure as failure:
            # No swap accounting: then there is nothing to forbid, and nothing to set free.
            if failure.errno != errno.ENOENT or swap_text not in ("0", "max"):
                raise
    for value, name in ((limit, "memory.max"), (memory.get("reservation"), "memory.low")):
        if value:
            files.write(directory, name, _number(value))


def swap_max(swap: int, limit: int) -> str:
    """v2 limits swap by itself, the spec limits memory and swap together."""
    if limit == -1 and swap == 0:
        return "max"
    if swap in (-1, 0) or limit == -1:
        return _number(swap) if swap else ""
    if limit == 0:
        raise RuntimeFailure("invalid_argument", "unable to set swap limit without memory limit")
    if swap < limit:
        raise RuntimeFailure("invalid_argument", "memory+swap limit should be >= memory limit")
    return str(swap - limit)


def _cpu(directory: str, cpu: dict[str, Any]) -> None:
    if cpu.get("realtimeRuntime") or cpu.get("realtimePeriod"):
        raise RuntimeFailure("invalid_argument", "cgroup v2 has no realtime limits")
    if cpu.get("idle") is not None:
        files.write(directory, "cpu.idle", cpu["idle"])
    if cpu.get("shares"):
        files.write(directory, "cpu.weight", weight_of_shares(cpu["shares"]))
    burst, late = cpu.get("burst"), False
    if burst is not None:
        # Refused while it exceeds the quota that this same call may raise.
        late = not _try(directory, "cpu.max.burst", burst)
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    if quota or period:
        words = [str(quota) if quota > 0 else "max", *([str(period)] if period else ["100000"])]
        files.write(directory, "cpu.max", " ".join(words))
    if late:
        files.write(directory, "cpu.max.burst", burst or 0)
    for key, name in (("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")):
        if cpu.get(key):
            files.write(directory, name, cpu[key])


def _try(directory: str, name: str, value: int) -> bool:
    try:
        files.write(directory, name, value)
    except RuntimeFailure as failure:
        if failure.errno == errno.EINVAL:
            return False
        raise
    return True


def weight_of_shares(shares: int) -> int:
    """Convert cpu.shares (2 to 262144, 1024 by default) to cpu.weight (1 to 10000, 100 by default)."""
    if shares <= 2:
        return 1
    if shares >= _MAX_SHARES:
        return 10000
    logarithm = math.log2(shares)
    return math.ceil(10 ** ((logarithm * logarithm + 125 * logarithm) / 612 - 7 / 34))


def io_weight(weight: int) -> int:
    """Convert blkio.weight (10 to 1000) to io.weight (1 to 10000)."""
    return 1 + (weight - 10) * 9999 // 990


def _io(directory: str, block_io: dict[str, Any]) -> None:
    bfq = files.exists(directory, "io.bfq.weight")
    if block_io.get("weight"):
        if bfq:
            files.write(directory, "io.bfq.weight", block_io["weight"])
        else:
            files.write(directory, "io.weight", io_weight(block_io["weight"]))
    for device in block_io.get("weightDevice") or ():
        if device.get("weight") and bfq:
            value = f"{device['major']}:{device['minor']} {device['weight']}"
            files.write(directory, "io.bfq.weight", value)
    for key, name in (
        ("throttleReadBpsDevice", "rbps"),
        ("throttleWriteBpsDevice", "wbps"),
        ("throttleReadIOPSDevice", "riops"),
        ("throttleWriteIOPSDevice", "wiops"),
    ):
        for device in block_io.get(key) or ():
            files.write(directory, "io.max", f"{device['major']}:{device['minor']} {name}={device['rate']}")


def _huge_pages(directory: str, page: dict[str, Any]) -> None:
    prefix = f"hugetlb.{page['pageSize']}"
    files.write(directory, f"{prefix}.max", page["limit"])
    if files.exists(directory, f"{prefix}.rsvd.max"):
        files.write(directory, f"{prefix}.rsvd.max", page["limit"])


def _unified(directory: str, name: str, value: str) -> None:
    if "/" in name or "." not in name:
        text = f'unified resource "{name}" must be a file name'
        raise RuntimeFailure("invalid_argument", text)
    for line in value.splitlines():
        files.write(directory, name, line)


def _number(value: int) -> str:
    return "max" if value == -1 else str(value)
