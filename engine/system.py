"""What `docker version` and `docker info` say of this engine and its host."""

from __future__ import annotations

import datetime
import os
import platform
import socket
from typing import TYPE_CHECKING
from urllib.request import getproxies

from msgspec import UNSET

from ..openapi.types.system import (
    Commit,
    DefaultAddressPool,
    FirewallInfo,
    IndexInfo,
    PluginsInfo,
    RegistryServiceConfig,
    RuntimeInfo,
    SwarmInfo,
    SystemInfo,
    SystemVersion,
    VersionComponent,
    VersionPlatform,
)
from . import apparmor, host
from .config import OWN_RUNTIMES
from .containers import logconfig
from .networks.ipam import NETWORK_SOURCES
from .version import API_VERSION, MIN_API_VERSION, SERVER_VERSION, VERSION

if TYPE_CHECKING:
    from .config import EngineConfig, RegistryConfig
    from .engine import Engine

INDEX_SERVER = "https://index.docker.io/v1/"


class System:
    """Answers about the engine as a whole."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def version(self) -> SystemVersion:
        details = {
            "ApiVersion": API_VERSION,
            "MinAPIVersion": MIN_API_VERSION,
            "Os": "linux",
            "Arch": host.architecture(),
            "KernelVersion": platform.release(),
            "PythonVersion": platform.python_version(),
            "Experimental": str(self._engine.config.experimental).lower(),
        }
        return SystemVersion(
            platform=VersionPlatform(name="lightship"),
            components=[
                VersionComponent(name="Engine", version=SERVER_VERSION, details=details),
                VersionComponent(name="lightship-runtime", version=VERSION, details={}),
            ],
            version=SERVER_VERSION,
            api_version=API_VERSION,
            min_api_version=MIN_API_VERSION,
            git_commit="",
            go_version="",
            os="linux",
            arch=host.architecture(),
            kernel_version=platform.release(),
            build_time="",
        )

    async def info(self) -> SystemInfo:
        config = self._engine.config
        os_name, os_version = host.operating_system()
        info = SystemInfo(
            id=self._engine.id,
            images=self._engine.images.count(),
            docker_root_dir=str(config.data_root),
            plugins=PluginsInfo(
                volume=sorted(["local", *self._engine.volumes.plugins.names]),
                network=self._engine.networks.drivers(),
                authorization=list(self._engine.authorization.names) or None,
                log=list(logconfig.DRIVERS),
            ),
            ipv4_forwarding=host.ipv4_forwarding(),
            debug=config.debug,
            nfd=len(os.listdir("/proc/self/fd")),
            system_time=datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z"),
            logging_driver=config.log_driver,
            nevents_listener=self._engine.events.listeners,
            kernel_version=platform.release(),
            operating_system=os_name,
            os_version=os_version,
            os_type="linux",
            architecture=platform.machine(),
            ncpu=len(os.sched_getaffinity(0)),
            mem_total=host.memory_bytes(),
            index_server_address=INDEX_SERVER,
            registry_config=RegistryServiceConfig(
                insecure_registry_cidrs=[*config.registry.insecure_networks, "::1/128", "127.0.0.0/8"],
                index_configs=_index_configs(config.registry),
                mirrors=list(config.registry.hub_mirrors),
            ),
            http_proxy=_masked(config.registry.http_proxy or getproxies().get("http", "")),
            https_proxy=_masked(config.registry.https_proxy or getproxies().get("https", "")),
            no_proxy=config.registry.no_proxy or getproxies().get("no", ""),
            name=socket.gethostname(),
            labels=list(config.labels),
            experimental_build=config.experimental,
            server_version=SERVER_VERSION,
            runtimes=_runtimes(config),
            default_runtime=config.default_runtime,
            swarm=SwarmInfo(local_node_state="inactive"),
            live_restore_enabled=config.live_restore,
            init_binary=config.init_path or "docker-init",
            containerd_commit=Commit(),
            runc_commit=Commit(),
            init_commit=Commit(),
            security_options=self._security_options(),
            firewall_backend=FirewallInfo(driver=self._engine.networks.firewall_backend),
            cdi_spec_dirs=list(config.cdi_spec_dirs),
        )
        self._count_containers(info)
        self._describe_limits(info)
        self._describe_storage(info)
        return info

    def _count_containers(self, info: SystemInfo) -> None:
        states = self._engine.containers.count_states()
        info.containers = sum(states.values())
        info.containers_running = states.get("running", 0) + states.get("restarting", 0)
        info.containers_paused = states.get("paused", 0)
        info.containers_stopped = info.containers - info.containers_running - info.containers_paused

    def _describe_limits(self, info: SystemInfo) -> None:
        files = host.cgroup_files()
        if host.cgroup_version() == "2":
            info.memory_limit = info.swap_limit = "memory" in files
            info.cpu_shares = info.cpu_cfs_period = info.cpu_cfs_quota = "cpu" in files
            info.cpu_set, info.pids_limit = "cpuset" in files, "pids" in files
        else:
            info.memory_limit = "memory/memory.limit_in_bytes" in files
            info.swap_limit = "memory/memory.memsw.limit_in_bytes" in files
            info.oom_kill_disable = "memory/memory.oom_control" in files
            info.cpu_cfs_period = "cpu/cpu.cfs_period_us" in files
            info.cpu_cfs_quota = "cpu/cpu.cfs_quota_us" in files
            info.cpu_shares = "cpu/cpu.shares" in files
            info.cpu_set = "cpuset/cpuset.cpus" in files
            info.pids_limit = "pids/cgroup.procs" in files
        info.cgroup_driver = self._engine.config.cgroup_driver
        info.cgroup_version = host.cgroup_version()

    def _describe_storage(self, info: SystemInfo) -> None:
        driver = self._engine.snapshots.driver
        info.driver = driver.name
        info.driver_status = driver.status(self._engine.config.snapshots_dir)
        pools = self._engine.config.default_address_pools or NETWORK_SOURCES
        info.default_address_pools = [DefaultAddressPool(base=str(base), size=size) for base, size in pools]

    def _security_options(self) -> list[str]:
        options = ["name=apparmor"] if apparmor.is_usable() else []
        if host.seccomp():
            profile = self._engine.config.seccomp_profile or "builtin"
            options.append(f"name=seccomp,profile={profile}")
        if self._engine.config.id_map is not None:
            options.append("name=userns")
        if host.cgroup_version() == "2":
            options.append("name=cgroupns")
        return options


def _runtimes(config: EngineConfig) -> dict[str, RuntimeInfo]:
    own = {name: RuntimeInfo(path="lightship-runtime") for name in OWN_RUNTIMES}
    others = {
        name: RuntimeInfo(path=runtime.path, runtime_args=list(runtime.args) or UNSET)
        for name, runtime in config.runtimes.items()
    }
    return own | others


def _index_configs(registry: RegistryConfig) -> dict[str, IndexInfo]:
    """Say of Docker Hub and of the hosts named as insecure how they are reached."""
    hub = IndexInfo(name="docker.io", mirrors=list(registry.hub_mirrors), secure=True, official=True)
    insecure = {host: IndexInfo(name=host, mirrors=[]) for host in registry.insecure_hosts}
    return {**insecure, "docker.io": hub}


def _masked(proxy: str) -> str:
    """Return a proxy's URL without its credentials."""
    scheme, separator, rest = proxy.partition("://")
    return f"{scheme}://xxxxx:xxxxx@{rest.rpartition('@')[2]}" if separator and "@" in rest else proxy
