"""Facts about the host that `docker info` and `docker version` show, read from the kernel and /etc.

Facts that cannot change while the daemon runs are read once.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""Go's name of each machine."""

CONTROLLERS_V1 = Path("/sys/fs/cgroup")


def architecture() -> str:
    """The machine as Go and image manifests call it, such as `amd64`."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


@cache
def operating_system() -> tuple[str, str]:
    """The distribution's name and version (os-release(5))."""
    fields = platform.freedesktop_os_release() if os.path.exists("/etc/os-release") else {}
    return fields.get("PRETTY_NAME", "Linux"), fields.get("VERSION_ID", "")


@cache
def memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@cache
def cgroup_version() -> str:
    """`2` where /sys/fs/cgroup is the unified hierarchy, else `1`."""
    return "2" if (CONTROLLERS_V1 / "cgroup.controllers").exists() else "1"


@cache
def cgroup_files() -> frozenset[str]:
    """The control files of the root cgroups that tell which limits the kernel has."""
    names = (
        ("memory", "memory.limit_in_bytes"),
        ("memory", "memory.memsw.limit_in_bytes"),
        ("memory", "memory.oom_control"),
        ("cpu", "cpu.cfs_period_us"),
        ("cpu", "cpu.cfs_quota_us"),
        ("cpu", "cpu.shares"),
        ("cpuset", "cpuset.cpus"),
        ("pids", "pids.current"),
        ("pids", "cgroup.procs"),
    )
    if cgroup_version() == "2":
        return frozenset((CONTROLLERS_V1 / "cgroup.controllers").read_text().split())
    return frozenset(f"{folder}/{name}" for folder, name in names if (CONTROLLERS_V1 / folder / name).exists())


def ipv4_forwarding() -> bool:
    return Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1"


@cache
def seccomp() -> bool:
    """Whether the kernel filters system calls (`Seccomp:` in proc_pid_status(5))."""
    return "\nSeccomp:" in Path("/proc/self/status").read_text()


def filesystem_type(path: Path) -> str:
    """The type of the file system that holds `path`, as mountinfo names it."""
    best, found = "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        point = fields[4]
        if len(point) >= len(best) and (str(path) + "/").startswith(point.rstrip("/") + "/"):
            best, found = point, fields[fields.index("-") + 1]
    return found
