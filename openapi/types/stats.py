"""What containers use: the samples of `docker stats`."""

from __future__ import annotations

from msgspec import UNSET, UnsetType, field

from .model import Model


class ContainerPidsStats(Model, rename=None):
    """How many processes and threads there are, and may be."""

    current: int | UnsetType = UNSET
    limit: int | UnsetType = UNSET


class ContainerBlkioStatEntry(Model, rename=None):
    """One count of one device."""

    major: int = 0
    minor: int = 0
    op: str = ""
    value: int = 0


class ContainerBlkioStats(Model, rename=None):
    """Block I/O; on cgroup v2 only the first list is there."""

    io_service_bytes_recursive: list[ContainerBlkioStatEntry] | None = None
    io_serviced_recursive: list[ContainerBlkioStatEntry] | None = None
    io_queue_recursive: list[ContainerBlkioStatEntry] | None = None
    io_service_time_recursive: list[ContainerBlkioStatEntry] | None = None
    io_wait_time_recursive: list[ContainerBlkioStatEntry] | None = None
    io_merged_recursive: list[ContainerBlkioStatEntry] | None = None
    io_time_recursive: list[ContainerBlkioStatEntry] | None = None
    sectors_recursive: list[ContainerBlkioStatEntry] | None = None


class ContainerStorageStats(Model, rename=None):
    """Windows alone fills these."""

    read_count_normalized: int | UnsetType = UNSET
    read_size_bytes: int | UnsetType = UNSET
    write_count_normalized: int | UnsetType = UNSET
    write_size_bytes: int | UnsetType = UNSET


class ContainerCPUUsage(Model, rename=None):
    """Nanoseconds of processor time."""

    total_usage: int = 0
    percpu_usage: list[int] | UnsetType = UNSET
    usage_in_kernelmode: int = 0
    usage_in_usermode: int = 0


class ContainerThrottlingData(Model, rename=None):
    """How often and how long the container was held back."""

    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0


class ContainerCPUStats(Model, rename=None):
    """The container's processor time and the whole system's."""

    cpu_usage: ContainerCPUUsage = field(default_factory=ContainerCPUUsage)
    system_cpu_usage: int | UnsetType = UNSET
    online_cpus: int | UnsetType = UNSET
    throttling_data: ContainerThrottlingData = field(default_factory=ContainerThrottlingData)


class ContainerMemoryStats(Model, rename=None):
    """Memory in bytes; the last three are Windows' own."""

    usage: int | UnsetType = UNSET
    max_usage: int | UnsetType = UNSET
    stats: dict[str, int] | UnsetType = UNSET
    failcnt: int | UnsetType = UNSET
    limit: int | UnsetType = UNSET
    commitbytes: int | UnsetType = UNSET
    commitpeakbytes: int | UnsetType = UNSET
    privateworkingset: int | UnsetType = UNSET


class ContainerNetworkStats(Model, rename=None):
    """What went through one interface; the ids are Windows' own."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0
    endpoint_id: str | UnsetType = UNSET
    instance_id: str | UnsetType = UNSET


class ContainerStatsResponse(Model, rename=None):
    """One sample; `pre*` is the one before it."""

    name: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    os_type: str | UnsetType = UNSET
    read: str = "0001-01-01T00:00:00Z"
    preread: str = "0001-01-01T00:00:00Z"
    pids_stats: ContainerPidsStats = field(default_factory=ContainerPidsStats)
    blkio_stats: ContainerBlkioStats = field(default_factory=ContainerBlkioStats)
    num_procs: int = 0
    storage_stats: ContainerStorageStats = field(default_factory=ContainerStorageStats)
    cpu_stats: ContainerCPUStats = field(default_factory=ContainerCPUStats)
    precpu_stats: ContainerCPUStats = field(default_factory=ContainerCPUStats)
    memory_stats: ContainerMemoryStats = field(default_factory=ContainerMemoryStats)
    networks: dict[str, ContainerNetworkStats] | UnsetType = UNSET
