"""What the host can do and what the engine was set to, as far as a container's configuration depends on it.

Read once when the engine starts and handed to `validate`, `defaults` and `spec`, which then look at nothing else; tests
make their own. Limits that the kernel lacks are dropped with a warning, as dockerd does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import apparmor
from .. import host as kernel
from ..config import CDI_DIRECTORIES, OWN_RUNTIMES, EngineConfig, Runtime, Ulimit
from ..idmap import IdMap
from ..runtime import capabilities
from . import cpulist

_CGROUPS = Path("/sys/fs/cgroup")
PING_GROUPS = "net.ipv4.ping_group_range"
_SAFE_SYSCTLS = {
    # Lets every user ping without CAP_NET_RAW, and bind low ports without CAP_NET_BIND_SERVICE.
    PING_GROUPS: "0 2147483647",
    "net.ipv4.ip_unprivileged_port_start": "0",
}
# Statically linked ones first: the image need not have the libraries of a dynamic one.
_INIT_PROGRAMS = ("docker-init", "tini-static", "catatonit", "dumb-init", "tini")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Which limits the mounted control groups know."""

    memory: bool = True
    swap: bool = True
    memory_reservation: bool = True
    memory_swappiness: bool = True
    oom_kill_disable: bool = True
    pids: bool = True
    cpu_shares: bool = True
    cpu_cfs: bool = True
    cpu_realtime: bool = False
    cpuset: bool = True
    blkio_weight: bool = True
    blkio_weight_device: bool = True
    blkio_throttle: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The host and the engine's settings. The defaults describe an ordinary host with cgroup v2."""

    cpus: int = 1
    cpuset_cpus: str = "0"
    cpuset_mems: str = "0"
    limits: Limits = field(default_factory=Limits)
    cgroup_version: int = 2
    capabilities: tuple[str, ...] = capabilities.NAMES
    ipv4_forwarding: bool = True
    apparmor: bool = False
    seccomp: bool = True
    hostname: str = "localhost"
    thermal_throttle_paths: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=lambda: dict(_SAFE_SYSCTLS))
    init_path: str = ""
    shm_size: int = 64 * 1024 * 1024
    ipc_mode: str = "private"
    cgroupns_mode: str = "private"
    cgroup_parent: str = "/docker"
    cgroup_driver: str = "cgroupfs"
    runtimes: Mapping[str, Runtime] = field(default_factory=dict)
    default_runtime: str = OWN_RUNTIMES[0]
    init: bool = False
    no_new_privileges: bool = False
    id_map: IdMap | None = None
    """The ids of containers that do not ask for the host's."""
    seccomp_profile: str = ""
    ulimits: tuple[Ulimit, ...] = ()
    log_driver: str = "json-file"
    log_opts: Mapping[str, str] = field(default_factory=dict)
    stop_timeout_s: int = 10
    cdi_directories: tuple[str, ...] = CDI_DIRECTORIES

    def reloaded(self, config: EngineConfig) -> Host:
        """What holds for new containers after the configuration was read again."""
        return replace(
            self,
            shm_size=config.default_shm_size,
            ipc_mode=config.default_ipc_mode,
            cgroupns_mode=_cgroupns_mode(config, self.cgroup_version),
            runtimes=config.runtimes,
            default_runtime=config.default_runtime,
            stop_timeout_s=config.default_stop_timeout_s,
        )


def detect(config: EngineConfig) -> Host:
    """Look at the kernel, and take the engine's settings."""
    version = int(kernel.cgroup_version())
    return Host(
        cpus=len(os.sched_getaffinity(0)),
        cpuset_cpus=_cpuset(version, "cpus"),
        cpuset_mems=_cpuset(version, "mems"),
        limits=_limits_v2() if version == 2 else _limits_v1(),
        cgroup_version=version,
        capabilities=tuple(capabilities.available()),
        ipv4_forwarding=kernel.ipv4_forwarding(),
        apparmor=apparmor.is_usable(),
        seccomp=kernel.seccomp(),
        hostname=os.uname().nodename,
        thermal_throttle_paths=_thermal_throttle_paths(),
        sysctls={name: value for name, value in _SAFE_SYSCTLS.items() if _has_sysctl(name)},
        init_path=config.init_path or _find_init(),
        shm_size=config.default_shm_size,
        ipc_mode=config.default_ipc_mode,
        cgroupns_mode=_cgroupns_mode(config, version),
        cgroup_parent=config.cgroup_parent or ("system.slice" if config.cgroup_driver == "systemd" else "/docker"),
        cgroup_driver=config.cgroup_driver,
        runtimes=config.runtimes,
        default_runtime=config.default_runtime,
        init=config.init,
        no_new_privileges=config.no_new_privileges,
        id_map=config.id_map,
        cdi_directories=config.cdi_spec_dirs,
        seccomp_profile=_read_profile(config.seccomp_profile),
        ulimits=config.default_ulimits,
        log_driver=config.log_driver,
        log_opts=config.log_opts,
        stop_timeout_s=config.default_stop_timeout_s,
    )


def _cgroupns_mode(config: EngineConfig, version: int) -> str:
    return config.default_cgroupns_mode or ("private" if version == 2 else "host")


def _limits_v1() -> Limits:
    def has(controller: str, name: str) -> bool:
        return (_CGROUPS / controller / name).exists()

    return Limits(
        memory=has("memory", "memory.limit_in_bytes"),
        swap=has("memory", "memory.memsw.limit_in_bytes"),
        memory_reservation=has("memory", "memory.soft_limit_in_bytes"),
        memory_swappiness=has("memory", "memory.swappiness"),
        oom_kill_disable=has("memory", "memory.oom_control"),
        pids=has("pids", "cgroup.procs"),
        cpu_shares=has("cpu", "cpu.shares"),
        cpu_cfs=has("cpu", "cpu.cfs_quota_us"),
        cpu_realtime=has("cpu", "cpu.rt_period_us"),
        cpuset=has("cpuset", "cpuset.cpus"),
        blkio_weight=has("blkio", "blkio.weight"),
        blkio_weight_device=has("blkio", "blkio.weight_device"),
        blkio_throttle=has("blkio", "blkio.throttle.read_bps_device"),
    )


def _limits_v2() -> Limits:
    controllers = (_CGROUPS / "cgroup.controllers").read_text().split()
    return Limits(
        memory="memory" in controllers,
        swap=any(_CGROUPS.glob("*/memory.swap.max")),
        memory_reservation="memory" in controllers,
        memory_swappiness=False,
        oom_kill_disable=False,
        pids="pids" in controllers,
        cpu_shares="cpu" in controllers,
        cpu_cfs="cpu" in controllers,
        cpu_realtime=False,
        cpuset="cpuset" in controllers,
        blkio_weight="io" in controllers,
        blkio_weight_device="io" in controllers,
        blkio_throttle="io" in controllers,
    )


def _cpuset(version: int, what: str) -> str:
    name = f"cpuset.{what}.effective" if version == 2 else f"cpuset/cpuset.{what}"
    try:
        return (_CGROUPS / name).read_text().strip()
    except OSError:
        return f"0-{(os.cpu_count() or 1) - 1}" if what == "cpus" else "0"


def _thermal_throttle_paths() -> tuple[str, ...]:
    """What tells of the host's temperature and load (moby GHSA-6fw5-f8r9-fgfm)."""
    possible = Path("/sys/devices/system/cpu/possible")
    numbers = sorted(cpulist.parse(possible.read_text().strip())) if possible.exists() else []
    paths = (f"/sys/devices/system/cpu/cpu{number}/thermal_throttle" for number in numbers)
    return tuple(path for path in paths if os.path.exists(path))


def _has_sysctl(name: str) -> bool:
    return os.path.exists("/proc/sys/" + name.replace(".", "/"))


def _find_init() -> str:
    return next((path for name in _INIT_PROGRAMS if (path := shutil.which(name))), "")


def _read_profile(setting: str) -> str:
    """Return the default seccomp profile's JSON text, `unconfined`, or nothing for the built-in one."""
    if setting in ("", "builtin"):
        return ""
    return setting if setting == "unconfined" else Path(setting).read_text()
