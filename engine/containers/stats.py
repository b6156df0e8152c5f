"""`docker stats`: what a container uses, read from its control groups and its network namespace.

The daemon reads the files itself: they take a fraction of a millisecond, and the shim is not asked for anything. Names
and units are dockerd's for either version of control groups (moby `daemon/stats_unix.go`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from ...openapi.types.stats import (
    ContainerBlkioStats,
    ContainerCPUStats,
    ContainerCPUUsage,
    ContainerMemoryStats,
    ContainerNetworkStats,
    ContainerPidsStats,
    ContainerStatsResponse,
    ContainerThrottlingData,
)
from ..runtime import container as runtime
from ..runtime.errors import RuntimeFailure
from ..times import rfc3339

if TYPE_CHECKING:
    from ..shim.client import Task
    from .container import Container

_INTERVAL_S = 1.0
_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_UNLIMITED_PIDS = 1 << 62
# cgroup v1 counts each of these once for the group itself and once with those below it.
_V1_MEMORY = frozenset(
    f"{prefix}{name}"
    for prefix in ("", "total_")
    for name in (
        "cache", "rss", "rss_huge", "mapped_file", "dirty", "writeback", "pgpgin", "pgpgout", "pgfault", "pgmajfault",
        "inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable",
    )
) | {"hierarchical_memory_limit", "hierarchical_memsw_limit"}  # fmt: skip
_V2_MEMORY = frozenset((
    "anon", "file", "kernel_stack", "slab", "sock", "shmem", "file_mapped", "file_dirty", "file_writeback", "anon_thp",
    "inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable", "slab_reclaimable",
    "slab_unreclaimable", "pgfault", "pgmajfault", "workingset_refault", "workingset_activate",
    "workingset_nodereclaim", "pgrefill", "pgscan", "pgsteal", "pgactivate", "pgdeactivate", "pglazyfree",
    "pglazyfreed", "thp_fault_alloc", "thp_collapse_alloc",
))  # fmt: skip
_NETWORK_COLUMNS = {
    "rx_bytes": 0, "rx_packets": 1, "rx_errors": 2, "rx_dropped": 3, "tx_bytes": 8, "tx_packets": 9, "tx_errors": 10,
    "tx_dropped": 11,
}  # fmt: skip


async def once(container: Container, *, one_shot: bool) -> ContainerStatsResponse:
    """Return one sample; unless `one_shot` it is compared with one of a second before."""
    first = sample(container)
    if one_shot or not container.state.running or container.state.restarting:
        return first
    await asyncio.sleep(_INTERVAL_S)
    second = sample(container)
    second.preread, second.precpu_stats = first.read, first.cpu_stats
    return second


async def stream(container: Container) -> AsyncGenerator[ContainerStatsResponse, None]:
    """Yield a sample a second, zeros while it does not run, until the container is removed."""
    last: ContainerStatsResponse | None = None
    while not container.removed:
        found = sample(container)
        if last is not None:
            found.preread, found.precpu_stats = last.read, last.cpu_stats
        yield found
        last = found
        await asyncio.sleep(_INTERVAL_S)


def sample(container: Container) -> ContainerStatsResponse:
    """Read everything now; of a container that does not run there is nothing but its name."""
    found = ContainerStatsResponse(name=container.record.name, id=container.id, os_type="linux")
    task = container.task
    if task is None or not container.state.running or container.state.restarting:
        return found
    try:
        raw = runtime.cgroup(str(task.bundle)).stats()
    except (RuntimeFailure, OSError):
        return found  # it has just ended
    found.read = rfc3339(time.time_ns())
    found.cpu_stats = _cpu(raw["cpu"])
    found.memory_stats = _memory(raw["memory"], _V1_MEMORY if raw["version"] == 1 else _V2_MEMORY)
    # containerd reads v1's "max" as 0, which is left out, and v2's as the greatest number.
    limit = 0 if raw["version"] == 1 and raw["pids"]["limit"] >= _UNLIMITED_PIDS else raw["pids"]["limit"]
    found.pids_stats = ContainerPidsStats(current=_unless_zero(raw["pids"]["current"]), limit=_unless_zero(limit))
    found.blkio_stats = _blkio(raw["blkio"], version=raw["version"])
    if not container.record.config.network_disabled:
        found.networks = _networks(container, task)
    return found


def _cpu(raw: dict[str, Any]) -> ContainerCPUStats:
    system_ns, processors = _system_cpu()
    throttling = raw["throttling"]
    return ContainerCPUStats(
        cpu_usage=ContainerCPUUsage(
            total_usage=raw["usage_ns"],
            percpu_usage=raw["percpu_ns"] or UNSET,
            usage_in_kernelmode=raw["kernel_ns"],
            usage_in_usermode=raw["user_ns"],
        ),
        system_cpu_usage=system_ns,
        online_cpus=processors,
        throttling_data=ContainerThrottlingData(
            periods=throttling["periods"],
            throttled_periods=throttling["throttled_periods"],
            throttled_time=throttling["throttled_ns"],
        ),
    )


def _system_cpu() -> tuple[int, int]:
    """Return the time that all processors together have spent, idle time too, and how many there are."""
    ticks = processors = 0
    with open("/proc/stat") as file:
        for line in file:
            name, *fields = line.split()
            if not name.startswith("cpu"):
                break
            if name == "cpu":
                ticks = sum(map(int, fields[:7]))
            else:
                processors += 1
    return ticks * _NS_PER_TICK, processors


def _memory(raw: dict[str, Any], names: frozenset[str]) -> ContainerMemoryStats:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return ContainerMemoryStats(
        usage=_unless_zero(raw["usage"]),
        max_usage=_unless_zero(raw["max_usage"] if names is _V1_MEMORY else 0),
        # What this kernel does not count is there as 0.
        stats={name: raw["stat"].get(name, 0) for name in sorted(names)} if raw["stat"] else {},
        failcnt=_unless_zero(raw["failcnt"]),
        limit=_unless_zero(min(raw["limit"], machine)),
    )


def _blkio(raw: dict[str, list[dict[str, Any]]], *, version: int) -> ContainerBlkioStats:
    if version == 2:
        entries = [{**entry, "op": entry["op"].lower()} for entry in raw["io_service_bytes_recursive"]]
        return msgspec.convert({"io_service_bytes_recursive": entries or None}, ContainerBlkioStats)
    return msgspec.convert(raw, ContainerBlkioStats)


def _networks(container: Container, task: Task) -> dict[str, ContainerNetworkStats] | UnsetType:
    """Read the interfaces that the engine gave it; the host's network is not the container's to account for."""
    if container.record.host_config.network_mode in ("host", "none"):
        return UNSET
    try:
        with open(f"/proc/{task.pid}/net/dev") as file:
            lines = file.readlines()[2:]
    except OSError:
        return UNSET
    found = {}
    for line in lines:
        name, _, counters = line.partition(":")
        if name.strip() != "lo":
            fields = [int(field) for field in counters.split()]
            columns = {column: fields[index] for column, index in _NETWORK_COLUMNS.items()}
            found[name.strip()] = msgspec.convert(columns, ContainerNetworkStats)
    return found or UNSET


def _unless_zero(value: int) -> int | UnsetType:
    return value or UNSET
