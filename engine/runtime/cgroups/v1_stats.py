"""Statistics of cgroup v1 as raw numbers; what a controller that is not mounted would tell is absent or zero."""

from __future__ import annotations

import os

from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# The names that Docker gives the lists, and the files they are read from; throttling counts without a scheduler too.
_BLKIO = {
    "io_service_bytes_recursive": ("blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"),
    "io_serviced_recursive": ("blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"),
    "io_queue_recursive": ("blkio.io_queued_recursive",),
    "io_service_time_recursive": ("blkio.io_service_time_recursive",),
    "io_wait_time_recursive": ("blkio.io_wait_time_recursive",),
    "io_merged_recursive": ("blkio.io_merged_recursive",),
    "io_time_recursive": ("blkio.time_recursive",),
    "sectors_recursive": ("blkio.sectors_recursive",),
}


def read(paths: dict[str, str]) -> dict[str, Any]:
    """Return {"version": 1, "cpu", "memory", "pids", "blkio", "hugetlb"}.

    cpu: usage_ns, user_ns, kernel_ns, percpu_ns, throttling {periods, throttled_periods, throttled_ns};
    memory: usage, max_usage, limit, failcnt, stat; pids: current, limit (2**64 - 1 without one);
    blkio: lists of {major, minor, op, value} under Docker's names.
    """
    return {
        "version": 1,
        "cpu": _cpu(paths.get("cpu", ""), paths.get("cpuacct", "")),
        "memory": _memory(paths.get("memory", "")),
        "pids": _pids(paths.get("pids", "")),
        "blkio": {name: _blkio(paths.get("blkio", ""), sources) for name, sources in _BLKIO.items()},
    }


def _cpu(path: str, account_path: str) -> dict[str, Any]:
    usage = files.table(account_path, "cpuacct.stat") if account_path else {}
    throttling = files.table(path, "cpu.stat") if path else {}
    percpu = files.read(account_path, "cpuacct.usage_percpu").split() if account_path else []
    return {
        "usage_ns": files.number(account_path, "cpuacct.usage") if account_path else 0,
        "user_ns": usage.get("user", 0) * _NS_PER_TICK,
        "kernel_ns": usage.get("system", 0) * _NS_PER_TICK,
        "percpu_ns": [int(value) for value in percpu],
        "throttling": {
            "periods": throttling.get("nr_periods", 0),
            "throttled_periods": throttling.get("nr_throttled", 0),
            "throttled_ns": throttling.get("throttled_time", 0),
        },
    }


def _memory(path: str) -> dict[str, Any]:
    if not path:
        return {"usage": 0, "max_usage": 0, "limit": 0, "failcnt": 0, "stat": {}}
    return {
        "usage": files.number(path, "memory.usage_in_bytes"),
        "max_usage": files.number(path, "memory.max_usage_in_bytes"),
        "limit": files.number(path, "memory.limit_in_bytes"),
        "failcnt": files.number(path, "memory.failcnt"),
        "stat": files.table(path, "memory.stat"),
    }


def _pids(path: str) -> dict[str, int]:
    if not path:
        return {"current": 0, "limit": 0}
    return {"current": files.number(path, "pids.current"), "limit": files.number(path, "pids.max")}


def _blkio(path: str, sources: tuple[str, ...]) -> list[dict[str, Any]]:
    """Read the first file that has lines; each is "8:0 Read 4096", or "8:0 12" where there are no operations."""
    entries: list[dict[str, Any]] = []
    for source in sources if path else ():
        if not files.exists(path, source):
            continue
        for line in files.read(path, source).splitlines():
            fields = line.replace(":", " ").split()
            if len(fields) < 3 or not fields[0].isdigit():
                continue
            operation = fields[2] if len(fields) > 3 else ""
            entry = {"major": int(fields[0]), "minor": int(fields[1]), "op": operation, "value": int(fields[-1])}
            entries.append(entry)
        if entries:
            break
    return entries
