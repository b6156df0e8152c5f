"""The engine itself: version, information, events."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType, field

from .model import Model


class VersionPlatform(Model):
    """VersionPlatform"""

    name: str = ""


class VersionComponent(Model):
    """VersionComponent"""

    name: str = ""
    version: str = ""
    details: dict[str, Any] | UnsetType = UNSET


class SystemVersion(Model):
    """What `GET /version` answers."""

    platform: VersionPlatform | UnsetType = UNSET
    components: list[VersionComponent] | UnsetType = UNSET
    version: str = ""
    api_version: str = ""
    min_api_version: str | UnsetType = field(default=UNSET, name="MinAPIVersion")
    git_commit: str | UnsetType = UNSET
    go_version: str | UnsetType = UNSET
    os: str = ""
    arch: str = ""
    kernel_version: str | UnsetType = UNSET
    experimental: bool | UnsetType = UNSET
    build_time: str | UnsetType = UNSET


class PluginsInfo(Model):
    """Available plugins per type."""

    volume: list[str] | None = None
    network: list[str] | None = None
    authorization: list[str] | None = None
    log: list[str] | None = None


class IndexInfo(Model):
    """IndexInfo contains information about a registry."""

    name: str = ""
    mirrors: list[str] | None = None
    secure: bool = False
    official: bool = False


class RegistryServiceConfig(Model):
    """RegistryServiceConfig stores daemon registry services configuration."""

    insecure_registry_cidrs: list[str] | None = field(default=None, name="InsecureRegistryCIDRs")
    index_configs: dict[str, IndexInfo] | None = None
    mirrors: list[str] | None = None


class RuntimeInfo(Model):
    """An OCI runtime that containers can be run with."""

    path: str | UnsetType = field(default=UNSET, name="path")
    runtime_args: list[str] | UnsetType = field(default=UNSET, name="runtimeArgs")
    status: dict[str, str] | UnsetType = field(default=UNSET, name="status")


class PeerNode(Model):
    """A manager of a swarm."""

    node_id: str = field(default="", name="NodeID")
    addr: str = ""


class SwarmInfo(Model):
    """Represents generic information about swarm."""

    node_id: str = field(default="", name="NodeID")
    node_addr: str = ""
    local_node_state: str = ""
    control_available: bool = False
    error: str = ""
    remote_managers: list[PeerNode] | None = None
    nodes: int | UnsetType = UNSET
    managers: int | UnsetType = UNSET


class Commit(Model):
    """The version of a component."""

    id: str = field(default="", name="ID")


class FirewallInfo(Model):
    """Information about the daemon's firewalling configuration."""

    driver: str = ""
    info: list[list[str]] | UnsetType = UNSET


class ContainerdInfoNamespaces(Model):
    """The namespaces that the daemon uses for running containers and plugins in containerd."""

    containers: str = ""
    plugins: str = ""


class ContainerdInfo(Model):
    """Information for connecting to the containerd instance that is used by the daemon."""

    address: str | UnsetType = UNSET
    namespaces: ContainerdInfoNamespaces = field(default_factory=ContainerdInfoNamespaces)


class DeviceInfo(Model):
    """DeviceInfo represents a device that can be used by a container."""

    source: str = ""
    id: str = field(default="", name="ID")


class DefaultAddressPool(Model):
    """DefaultAddressPool"""

    base: str = ""
    size: int = 0


class SystemInfo(Model):
    """SystemInfo"""

    id: str = field(default="", name="ID")
    containers: int = 0
    containers_running: int = 0
    containers_paused: int = 0
    containers_stopped: int = 0
    images: int = 0
    driver: str = ""
    driver_status: list[list[str]] | None = None
    docker_root_dir: str = ""
    generic_resources: list[dict[str, Any]] | None = None
    plugins: PluginsInfo = field(default_factory=PluginsInfo)
    memory_limit: bool = False
    swap_limit: bool = False
    cpu_cfs_period: bool = False
    cpu_cfs_quota: bool = False
    cpu_shares: bool = field(default=False, name="CPUShares")
    cpu_set: bool = field(default=False, name="CPUSet")
    pids_limit: bool = False
    oom_kill_disable: bool = False
    ipv4_forwarding: bool = field(default=False, name="IPv4Forwarding")
    debug: bool = False
    nfd: int = field(default=0, name="NFd")
    ngoroutines: int = field(default=0, name="NGoroutines")
    system_time: str = ""
    logging_driver: str = ""
    cgroup_driver: str = ""
    cgroup_version: str | UnsetType = UNSET
    nevents_listener: int = field(default=0, name="NEventsListener")
    kernel_version: str = ""
    operating_system: str = ""
    os_version: str = field(default="", name="OSVersion")
    os_type: str = field(default="", name="OSType")
    architecture: str = ""
    ncpu: int = field(default=0, name="NCPU")
    mem_total: int = 0
    index_server_address: str = ""
    registry_config: RegistryServiceConfig | None = None
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    name: str = ""
    labels: list[str] | None = None
    experimental_build: bool = False
    server_version: str = ""
    runtimes: dict[str, RuntimeInfo] | None = None
    default_runtime: str = ""
    swarm: SwarmInfo = field(default_factory=SwarmInfo)
    live_restore_enabled: bool = False
    isolation: str = ""
    init_binary: str = ""
    containerd_commit: Commit = field(default_factory=Commit)
    runc_commit: Commit = field(default_factory=Commit)
    init_commit: Commit = field(default_factory=Commit)
    security_options: list[str] | None = None
    product_license: str | UnsetType = UNSET
    default_address_pools: list[DefaultAddressPool] | UnsetType = UNSET
    firewall_backend: FirewallInfo | UnsetType = UNSET
    discovered_devices: list[DeviceInfo] | UnsetType = UNSET
    warnings: list[str] | None = None
    cdi_spec_dirs: list[str] | None = field(default=None, name="CDISpecDirs")
    containerd: ContainerdInfo | UnsetType = UNSET


class EventActor(Model):
    """Actor describes something that generates events, like a container, network, or a volume."""

    id: str = field(default="", name="ID")
    attributes: dict[str, str] | None = None


class EventMessage(Model):
    """EventMessage represents the information an event contains."""

    type: str = ""
    action: str = ""
    actor: EventActor = field(default_factory=EventActor)
    scope: str | UnsetType = field(default=UNSET, name="scope")
    time: int | UnsetType = field(default=UNSET, name="time")
    time_nano: int | UnsetType = field(default=UNSET, name="timeNano")


class AuthConfig(Model):
    """AuthConfig"""

    username: str | UnsetType = field(default=UNSET, name="username")
    password: str | UnsetType = field(default=UNSET, name="password")
    serveraddress: str | UnsetType = field(default=UNSET, name="serveraddress")


class AuthResponse(Model):
    """An identity token was generated successfully."""

    status: str = ""
    identity_token: str | UnsetType = UNSET
