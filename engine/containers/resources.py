"""Limits on memory, CPU, processes and block I/O: checked at create, turned into OCI resources at each start.

`check` is moby's verifyPlatformContainerResources and runconfig's part of it: bad values are refused with its
sentences, limits that this kernel lacks are dropped from the host config with a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...openapi.types.hostconfig import Resources, ThrottleDevice
from ..errors import InvalidArgument
from . import cpulist, devices
from .host import Host

MIN_MEMORY_BYTES = 6 * 1024 * 1024
_CFS_PERIOD_US = 100_000
_CFS_PERIODS_US = range(1000, 1_000_001)
_BLKIO_WEIGHTS = range(10, 1001)
_NOT_MOUNTED = "capabilities or the cgroup is not mounted."


def check(resources: Resources, host: Host, *, is_update: bool = False) -> list[str]:
    """Refuse impossible limits, drop those that the host lacks, and return a warning for each one dropped.

    An update adds to what the container has: what is not in it may have been set before.
    """
    warnings: list[str] = []
    if resources.memory == 0 and resources.memory_swap > 0 and not is_update:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    for part in (_check_realtime, _check_memory, _check_oom_and_pids, _check_cpu, _check_cpuset, _check_block_io):
        part(resources, host, warnings.append)
    return warnings


def to_oci(host_config: Resources) -> dict[str, Any]:
    """Return linux.resources without the device rules."""
    resources: dict[str, Any] = {"blockIO": _block_io(host_config)}
    if memory := _memory(host_config):
        resources["memory"] = memory
    if cpu := _cpu(host_config):
        resources["cpu"] = cpu
    if (pids := host_config.pids_limit) is not None:
        resources["pids"] = {"limit": pids if pids > 0 else -1}
    return resources


def _check_realtime(resources: Resources, host: Host, warn: Callable[[str], None]) -> None:
    period, runtime = resources.cpu_realtime_period, resources.cpu_realtime_runtime
    if (period or runtime) and not host.limits.cpu_realtime:
        raise InvalidArgument("kernel does not support CPU real-time scheduler")
    if period and runtime and runtime > period:
        raise InvalidArgument("cpu real-time runtime cannot be higher than cpu real-time period")
    if resources.cpu_shares < 0:
        raise InvalidArgument(f"invalid CPU shares ({resources.cpu_shares}): value must be a positive integer")


def _check_memory(resources: Resources, host: Host, warn: Callable[[str], None]) -> None:
    limits = host.limits
    if resources.memory_swappiness == -1:
        resources.memory_swappiness = None  # the way of old clients to say "unset"
    if resources.memory != 0 and resources.memory < MIN_MEMORY_BYTES:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if resources.memory > 0 and not limits.memory:
        warn(f"Your kernel does not support memory limit {_NOT_MOUNTED} Limitation discarded.")
        resources.memory, resources.memory_swap = 0, -1
    if resources.memory > 0 and resources.memory_swap != -1 and not limits.swap:
        warn(f"Your kernel does not support swap limit {_NOT_MOUNTED} Memory limited without swap.")
        resources.memory_swap = -1
    if 0 < resources.memory_swap < resources.memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if resources.memory_swappiness is not None and not limits.memory_swappiness:
        warn(f"Your kernel does not support memory swappiness {_NOT_MOUNTED} Memory swappiness discarded.")
        resources.memory_swappiness = None
    if resources.memory_swappiness is not None and not 0 <= resources.memory_swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {resources.memory_swappiness}, valid memory swappiness range is 0-100")
    if resources.memory_reservation > 0 and not limits.memory_reservation:
        warn(f"Your kernel does not support memory soft limit {_NOT_MOUNTED} Limitation discarded.")
        resources.memory_reservation = 0
    if 0 < resources.memory_reservation < MIN_MEMORY_BYTES:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if 0 < resources.memory < resources.memory_reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")


def _check_oom_and_pids(resources: Resources, host: Host, warn: Callable[[str], None]) -> None:
    if resources.oom_kill_disable is not None and not host.limits.oom_kill_disable:
        if resources.oom_kill_disable:
            warn("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
        resources.oom_kill_disable = None
    if resources.oom_kill_disable and resources.memory == 0:
        warn(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system "
            "running out of resources."
        )
    if resources.pids_limit is not None and not host.limits.pids:
        if resources.pids_limit > 0:
            warn(f"Your kernel does not support PIDs limit {_NOT_MOUNTED} PIDs limit discarded.")
        resources.pids_limit = None


def _check_cpu(resources: Resources, host: Host, warn: Callable[[str], None]) -> None:
    if resources.nano_cpus > 0 and resources.cpu_period > 0:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if resources.nano_cpus > 0 and resources.cpu_quota > 0:
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if resources.nano_cpus > 0 and not host.limits.cpu_cfs:
        raise InvalidArgument(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted"
        )
    if not 0 <= resources.nano_cpus <= host.cpus * 10**9:
        raise InvalidArgument(
            f"range of CPUs is from 0.01 to {host.cpus}.00, as there are only {host.cpus} CPUs available"
        )
    if resources.cpu_shares > 0 and not host.limits.cpu_shares:
        warn("Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.")
        resources.cpu_shares = 0
    if (resources.cpu_period or resources.cpu_quota) and not host.limits.cpu_cfs:
        warn("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.")
        resources.cpu_period = resources.cpu_quota = 0
    if resources.cpu_period and resources.cpu_period not in _CFS_PERIODS_US:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < resources.cpu_quota < _CFS_PERIODS_US.start:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if resources.cpu_percent > 0:
        warn("linux does not support CPU percent. Percent discarded.")
        resources.cpu_percent = 0


def _check_cpuset(resources: Resources, host: Host, warn: Callable[[str], None]) -> None:
    if (resources.cpuset_cpus or resources.cpuset_mems) and not host.limits.cpuset:
        warn("Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.")
        resources.cpuset_cpus = resources.cpuset_mems = ""
    for short, name, wanted, available in (
        ("cpus", "CPUs", resources.cpuset_cpus, host.cpuset_cpus),
        ("mems", "memory nodes", resources.cpuset_mems, host.cpuset_mems),
    ):
        try:
            numbers = cpulist.parse(wanted)
        except ValueError as error:
            raise InvalidArgument(f"Invalid value {wanted} for cpuset {short}: {error}") from error
        if not numbers <= cpulist.parse(available):
            raise InvalidArgument(f"Requested {name} are not available - requested {wanted}, available: {available}")


def _check_block_io(resources: Resources, host: Host, warn: Callable[[str], None]) -> None:
    limits = host.limits
    if resources.blkio_weight > 0 and not limits.blkio_weight:
        warn("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.")
        resources.blkio_weight = 0
    if resources.blkio_weight > 0 and resources.blkio_weight not in _BLKIO_WEIGHTS:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    if resources.blkio_weight_device and not limits.blkio_weight_device:
        warn(
            "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. "
            "Weight-device discarded."
        )
        resources.blkio_weight_device = []
    for field, long_name, short_name in (
        ("blkio_device_read_bps", "BPS Block I/O read", "Block I/O BPS read"),
        ("blkio_device_write_bps", "BPS Block I/O write", "Block I/O BPS write"),
        ("blkio_device_read_iops", "IOPS Block read", "Block I/O IOPS read"),
        ("blkio_device_write_iops", "IOPS Block write", "Block I/O IOPS write"),
    ):
        if getattr(resources, field) and not limits.blkio_throttle:
            warn(
                f"Your kernel does not support {long_name} limit or the cgroup is not mounted. "
                f"{short_name} limit discarded."
            )
            setattr(resources, field, [])


def _memory(config: Resources) -> dict[str, Any]:
    memory: dict[str, Any] = {}
    for key, value in (
        ("limit", config.memory),
        ("reservation", config.memory_reservation),
        ("swap", config.memory_swap),
    ):
        if value > 0:
            memory[key] = value
    if config.memory_swappiness is not None:
        memory["swappiness"] = config.memory_swappiness
    if config.oom_kill_disable is not None:
        memory["disableOOMKiller"] = config.oom_kill_disable
    return memory


def _cpu(config: Resources) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    if config.nano_cpus > 0:
        cpu["period"] = _CFS_PERIOD_US
        cpu["quota"] = config.nano_cpus * _CFS_PERIOD_US // 10**9
    for key, value in (
        ("shares", config.cpu_shares),
        ("cpus", config.cpuset_cpus),
        ("mems", config.cpuset_mems),
        ("period", config.cpu_period),
        ("quota", config.cpu_quota),
        ("realtimePeriod", config.cpu_realtime_period),
        ("realtimeRuntime", config.cpu_realtime_runtime),
    ):
        if value:
            cpu[key] = value
    return cpu


def _block_io(config: Resources) -> dict[str, Any]:
    block_io: dict[str, Any] = {}
    if config.blkio_weight:
        block_io["weight"] = config.blkio_weight
    if config.blkio_weight_device:
        block_io["weightDevice"] = [
            {**_device_number(device.path), "weight": device.weight} for device in config.blkio_weight_device
        ]
    for key, throttles in (
        ("throttleReadBpsDevice", config.blkio_device_read_bps),
        ("throttleWriteBpsDevice", config.blkio_device_write_bps),
        ("throttleReadIOPSDevice", config.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", config.blkio_device_write_iops),
    ):
        if throttles:
            block_io[key] = _throttles(throttles)
    return block_io


def _throttles(throttles: Iterable[ThrottleDevice]) -> list[dict[str, int]]:
    return [{**_device_number(throttle.path), "rate": throttle.rate} for throttle in throttles]


def _device_number(path: str) -> dict[str, int]:
    major, minor = devices.number_of(path)
    return {"major": major, "minor": minor}
