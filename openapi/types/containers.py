"""Containers as they are reported: inspect, list, state and what operations answer."""

from __future__ import annotations

from msgspec import UNSET, UnsetType, field

from .config import Config
from .hostconfig import HostConfig
from .images import DriverData, OCIDescriptor, Storage
from .model import Model
from .mounts import MountPoint
from .networks import EndpointSettings, NetworkSettings


class PortSummary(Model):
    """Describes a port-mapping between the container and the host."""

    ip: str | UnsetType = field(default=UNSET, name="IP")
    private_port: int = 0
    public_port: int | UnsetType = UNSET
    type: str = ""


class HealthcheckResult(Model):
    """HealthcheckResult stores information about a single run of a healthcheck probe"""

    start: str = ""
    end: str = ""
    exit_code: int = 0
    output: str = ""


class Health(Model):
    """Health stores information about the container's healthcheck results."""

    status: str = ""
    failing_streak: int = 0
    log: list[HealthcheckResult] | None = None


class ContainerState(Model):
    """ContainerState stores container's running state."""

    status: str = ""
    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = field(default=False, name="OOMKilled")
    dead: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_at: str = ""
    finished_at: str = ""
    health: Health | UnsetType = UNSET


class ContainerInspectResponse(Model):
    """ContainerInspectResponse"""

    id: str = ""
    created: str = ""
    path: str = ""
    args: list[str] | None = None
    state: ContainerState | None = None
    image: str = ""
    resolv_conf_path: str = ""
    hostname_path: str = ""
    hosts_path: str = ""
    log_path: str = ""
    name: str = ""
    restart_count: int = 0
    driver: str = ""
    platform: str = ""
    image_manifest_descriptor: OCIDescriptor | UnsetType = UNSET
    mount_label: str = ""
    process_label: str = ""
    app_armor_profile: str = ""
    exec_ids: list[str] | None = field(default=None, name="ExecIDs")
    host_config: HostConfig | None = None
    graph_driver: DriverData | UnsetType = UNSET
    storage: Storage | UnsetType = UNSET
    size_rw: int | UnsetType = UNSET
    size_root_fs: int | UnsetType = UNSET
    mounts: list[MountPoint] | None = None
    config: Config | None = None
    network_settings: NetworkSettings | None = None


class SummaryNetworkSettings(Model):
    """Summary of the container's network settings"""

    networks: dict[str, EndpointSettings] | UnsetType = UNSET


class SummaryHostConfig(Model):
    """Summary of host-specific runtime information of the container."""

    network_mode: str = ""
    annotations: dict[str, str] | UnsetType = UNSET


class ContainerSummaryHealth(Model):
    """Summary of health status"""

    status: str = ""
    failing_streak: int = 0


class ContainerSummary(Model):
    """ContainerSummary"""

    id: str = ""
    names: list[str] | None = None
    image: str = ""
    image_id: str = field(default="", name="ImageID")
    image_manifest_descriptor: OCIDescriptor | UnsetType = UNSET
    command: str = ""
    created: int = 0
    ports: list[PortSummary] | None = None
    size_rw: int | UnsetType = UNSET
    size_root_fs: int | UnsetType = UNSET
    labels: dict[str, str] | None = None
    state: str = ""
    status: str = ""
    host_config: SummaryHostConfig = field(default_factory=SummaryHostConfig)
    network_settings: SummaryNetworkSettings | None = None
    mounts: list[MountPoint] | None = None
    health: ContainerSummaryHealth | UnsetType = UNSET


class ContainerCreateResponse(Model):
    """OK response to ContainerCreate operation"""

    id: str = ""
    warnings: list[str] | None = None


class ContainerUpdateResponse(Model):
    """Response for a successful container-update."""

    warnings: list[str] | None = None


class ContainerTopResponse(Model):
    """Container "top" response."""

    titles: list[str] | None = None
    processes: list[list[str]] | None = None


class ContainerWaitExitError(Model):
    """container waiting error, if any"""

    message: str | UnsetType = UNSET


class ContainerWaitResponse(Model):
    """OK response to ContainerWait operation"""

    status_code: int = 0
    error: ContainerWaitExitError | UnsetType = UNSET


class PathStat(Model, rename="camel"):
    """What `X-Docker-Container-Path-Stat` says of a file, its mode with the bits of Go's os.FileMode."""

    name: str = ""
    size: int = 0
    mode: int = 0
    mtime: str = ""
    link_target: str = ""


class FilesystemChange(Model):
    """Change in the container's filesystem: kind 0 is modified, 1 added, 2 deleted."""

    path: str = ""
    kind: int = 0
