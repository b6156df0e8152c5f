"""Statistics of cgroup v2 as raw numbers, in v1_stats' shape; what v2 does not count is absent or zero."""

from __future__ import annotations

from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NS_PER_US = 1000
_OPERATIONS = {
    "rbytes": ("io_service_bytes_recursive", "Read"),
    "wbytes": ("io_service_bytes_recursive", "Write"),
    "rios": ("io_serviced_recursive", "Read"),
    "wios": ("io_serviced_recursive", "Write"),
}


def read(directory: str) -> dict[str, Any]:
    """Return {"version": 2, "cpu", "memory", "pids", "blkio"}; operations are "Read" and "Write" as on v1."""
    cpu = files.table(directory, "cpu.stat")
    return {
        "version": 2,
        "cpu": {
            "usage_ns": cpu.get("usage_usec", 0) * _NS_PER_US,
            "user_ns": cpu.get("user_usec", 0) * _NS_PER_US,
            "kernel_ns": cpu.get("system_usec", 0) * _NS_PER_US,
            "percpu_ns": [],
            "throttling": {
                "periods": cpu.get("nr_periods", 0),
                "throttled_periods": cpu.get("nr_throttled", 0),
                "throttled_ns": cpu.get("throttled_usec", 0) * _NS_PER_US,
            },
        },
        "memory": {
            "usage": files.number(directory, "memory.current"),
            "max_usage": files.number(directory, "memory.peak"),
            "limit": files.number(directory, "memory.max"),
            "failcnt": files.table(directory, "memory.events").get("oom", 0),
            "stat": files.table(directory, "memory.stat"),
        },
        "pids": {"current": files.number(directory, "pids.current"), "limit": files.number(directory, "pids.max")},
        "blkio": _io(directory),
    }


def _io(directory: str) -> dict[str, list[dict[str, Any]]]:
    """Read io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0"."""
    lists: dict[str, list[dict[str, Any]]] = {"io_service_bytes_recursive": [], "io_serviced_recursive": []}
    if not files.exists(directory, "io.stat"):
        return lists
    for line in files.read(directory, "io.stat").splitlines():
        device, *words = line.split()
        major, _, minor = device.partition(":")
        for word in words:
            key, _, value = word.partition("=")
            if key in _OPERATIONS:
                name, operation = _OPERATIONS[key]
                entry = {"major": int(major), "minor": int(minor), "op": operation, "value": int(value)}
                lists[name].append(entry)
    return lists
