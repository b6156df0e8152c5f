"""The daemon's settings, as `lightshipd`'s flags and `daemon.json` give them (names and meaning are dockerd's).

This module says what there is and what the defaults are; reading flags and files is `lightship.api.flags`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .build.settings import BuilderConfig
from .idmap import IdMap

DEFAULT_DATA_ROOT = Path("/var/lib/lightship")
DEFAULT_EXEC_ROOT = Path("/run/lightship")
DEFAULT_HOST = "unix:///var/run/docker.sock"
DEFAULT_BRIDGE = "docker0"
CDI_DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
DEFAULT_SHM_SIZE = 64 * 1024 * 1024
OWN_RUNTIMES = ("runc", "io.containerd.runc.v2", "lightship")
"""Names of lightship's own OCI runtime: dockerd's for its own come first, for clients send them on."""

NO_SLICE = 'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"'


def is_slice(cgroup_parent: str) -> bool:
    """Whether systemd can have containers below it."""
    return bool(cgroup_parent.removesuffix(".slice")) and cgroup_parent.endswith(".slice")


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """The default bridge network."""

    name: str = DEFAULT_BRIDGE
    bip: str = ""
    bip6: str = ""
    fixed_cidr: str = ""
    ipv6: bool = False
    fixed_cidr_v6: str = ""
    default_gateway: str = ""
    default_gateway_v6: str = ""
    mtu: int = 1500
    icc: bool = True
    ip_masq: bool = True
    ip_forward: bool = True
    ip_forward_no_drop: bool = False
    iptables: bool = True
    ip6tables: bool = True
    allow_direct_routing: bool = False
    """Whether other hosts may use published ports by the containers' own addresses."""
    accept_mark: str = ""
    """A firewall mark, with its mask, of packets that bridges take from anywhere."""
    userland_proxy: bool = True
    """Whether the shim serves published ports that the rules do not carry."""
    published_ports_through_input: bool = False
    """Whether the host's own input rules decide who reaches published ports from outside: the shim serves them all."""
    default_binding_ip: str = "0.0.0.0"

    @property
    def bips(self) -> dict[int, str]:
        return {4: self.bip, 6: self.bip6}

    @property
    def fixed_cidrs(self) -> dict[int, str]:
        return {4: self.fixed_cidr, 6: self.fixed_cidr_v6}

    @property
    def default_gateways(self) -> dict[int, str]:
        return {4: self.default_gateway, 6: self.default_gateway_v6}

    def has_rules(self, version: int) -> bool:
        """Whether the daemon makes rules for an address family."""
        return self.iptables if version == 4 else self.ip6tables


@dataclass(frozen=True, slots=True)
class Ulimit:
    """A default resource limit of containers."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Runtime:
    """Another OCI runtime than lightship's own: its program, and arguments that come before any of ours."""

    path: str
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where a registry's content can be had, too; `url` may have a path. dockerd has them for Docker Hub alone."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    is_of_hub: bool = False


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """How registries are reached."""

    hub_mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()
    mirrors: Mapping[str, tuple[Mirror, ...]] = field(default_factory=dict)
    """By the registry's domain."""
    max_concurrent_downloads: int = 3
    max_concurrent_uploads: int = 5
    max_download_attempts: int = 5
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    certs_dir: Path = Path("/etc/docker/certs.d")

    def mirrors_of(self, domain: str) -> tuple[Mirror, ...]:
        of_hub = tuple(Mirror(url, is_of_hub=True) for url in self.hub_mirrors) if domain == "docker.io" else ()
        return self.mirrors.get(domain, ()) + of_hub

    @property
    def attempts(self) -> int:
        return max(1, self.max_download_attempts)

    @property
    def insecure_networks(self) -> tuple[str, ...]:
        return tuple(entry for entry in self.insecure if "/" in entry)

    @property
    def insecure_hosts(self) -> tuple[str, ...]:
        return tuple(entry for entry in self.insecure if "/" not in entry)

    @property
    def proxies(self) -> dict[str, str]:
        """By scheme, those that are set; they come before the environment's."""
        given = {"http": self.http_proxy, "https": self.https_proxy, "no": self.no_proxy}
        return {scheme: value for scheme, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Everything that a daemon is started with."""

    data_root: Path = DEFAULT_DATA_ROOT
    exec_root: Path = DEFAULT_EXEC_ROOT
    bridge: BridgeConfig = field(default_factory=BridgeConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    builder: BuilderConfig = field(default_factory=BuilderConfig)
    storage_driver: str = ""
    """What containers' roots are made by; empty for the best that works here."""
    bridge_disabled: bool = False
    firewall_backend: str = "auto"
    dns: tuple[str, ...] = ()
    dns_opts: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    host_gateway_ips: tuple[str, ...] = ()
    default_address_pools: tuple[tuple[str, int], ...] = ()
    """Blocks that subnets are cut from, each with the prefix length of the subnets."""
    default_network_opts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Driver options of new networks, by driver."""
    labels: tuple[str, ...] = ()
    log_driver: str = "json-file"
    log_opts: Mapping[str, str] = field(default_factory=dict)
    default_ulimits: tuple[Ulimit, ...] = ()
    default_shm_size: int = DEFAULT_SHM_SIZE
    default_ipc_mode: str = "private"
    default_cgroupns_mode: str = ""
    default_stop_timeout_s: int = 10
    cgroup_parent: str = ""
    exec_opts: tuple[str, ...] = ()
    runtimes: Mapping[str, Runtime] = field(default_factory=dict)
    default_runtime: str = OWN_RUNTIMES[0]
    init: bool = False
    init_path: str = ""
    cdi_spec_dirs: tuple[str, ...] = CDI_DIRECTORIES
    """Where vendors describe their devices; with none at all there are no CDI devices."""
    no_new_privileges: bool = False
    authorization_plugins: tuple[str, ...] = ()
    """Whom the API asks before it does anything, and before it answers."""
    userns_remap: str = ""
    id_map: IdMap | None = None
    """What `userns_remap` has come to."""
    seccomp_profile: str = ""
    live_restore: bool = True
    shutdown_timeout_s: int = 15
    debug: bool = False
    experimental: bool = False

    @property
    def cgroup_driver(self) -> str:
        """Who makes the containers' control groups: the runtime itself (`cgroupfs`) or `systemd`."""
        options = (option.partition("=") for option in self.exec_opts)
        return next((value for name, _, value in options if name == "native.cgroupdriver"), "cgroupfs")

    @property
    def containers_dir(self) -> Path:
        """Where each container's hostname, hosts, resolv.conf and log are; paths end in `containers/<id>/`."""
        return self.data_root / "containers"

    @property
    def volumes_dir(self) -> Path:
        return self.data_root / "volumes"

    @property
    def snapshots_dir(self) -> Path:
        return self.data_root / "snapshots"

    @property
    def tasks_dir(self) -> Path:
        """Where the bundles of running containers are."""
        return self.exec_root / "tasks"
