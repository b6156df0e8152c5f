"""Request gates: what older (and newer) versions of the API mean by the same body.

Each change alters a decoded request in place and may return a warning for the client; moby's routers are the behaviour
followed.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET, UnsetType

from ..engine.errors import InvalidArgument
from ..engine.filters import Filters
from ..openapi.types.hostconfig import HostConfig
from ..openapi.types.model import given
from ..openapi.types.mounts import BindOptions, Mount
from ..openapi.types.networks import (
    EndpointSettings,
    NetworkCreateRequest,
    NetworkingConfig,
    PortBinding,
)
from ..openapi.types.requests import (
    ContainerCreateRequest,
    ContainerUpdateRequest,
    ExecCreateRequest,
    ExecStartRequest,
)
from . import endpoints
from .gate import Gate


def _host(request: ContainerCreateRequest) -> HostConfig:
    assert request.host_config is not None  # `_complete` is the first gate
    return request.host_config


def _endpoints(request: ContainerCreateRequest) -> dict[str, EndpointSettings]:
    assert request.networking_config is not None and request.networking_config.endpoints_config is not None
    return request.networking_config.endpoints_config


def _mounts(request: ContainerCreateRequest, kind: str = "") -> Iterator[Mount]:
    for mount in given(_host(request).mounts, []):
        if not kind or mount.type == kind:
            yield mount


def _complete(request: ContainerCreateRequest) -> None:
    """Make every part be there; the network `default` is the bridge."""
    request.host_config = host = request.host_config or HostConfig()
    request.networking_config = networking = request.networking_config or NetworkingConfig()
    networking.endpoints_config = networking.endpoints_config or {}
    if host.network_mode in ("", "default"):
        host.network_mode = "bridge"
        if "default" in networking.endpoints_config:
            networking.endpoints_config["bridge"] = networking.endpoints_config.pop("default")
    if host.pids_limit is not None and host.pids_limit <= 0:
        host.pids_limit = None


def _ignore_non_recursive(request: ContainerCreateRequest) -> None:
    for mount in _mounts(request):
        if not isinstance(mount.bind_options, UnsetType):
            mount.bind_options.non_recursive = UNSET


def _shareable_ipc(request: ContainerCreateRequest) -> None:
    _host(request).ipc_mode = _host(request).ipc_mode or "shareable"


def _ignore_mount_options(request: ContainerCreateRequest) -> None:
    """Options of another type of mount were not refused before 1.42."""
    for mount in _mounts(request):
        if not isinstance(mount.bind_options, UnsetType):
            mount.bind_options.create_mountpoint = UNSET
        if mount.type != "volume":
            mount.volume_options = UNSET
        if mount.type != "tmpfs":
            mount.tmpfs_options = UNSET


def _check_mount_options(request: ContainerCreateRequest) -> None:
    for mount in _mounts(request):
        for member, name, kind in (
            (mount.volume_options, "VolumeOptions", "volume"),
            (mount.bind_options, "BindOptions", "bind"),
            (mount.tmpfs_options, "TmpfsOptions", "tmpfs"),
        ):
            if not isinstance(member, UnsetType) and mount.type != kind:
                raise InvalidArgument(f'{name} must not be specified on mount type "{given(mount.type, "")}"')


def _no_console_size(request: ContainerCreateRequest) -> None:
    _host(request).console_size = [0, 0]


def _no_annotations(request: ContainerCreateRequest) -> None:
    _host(request).annotations = UNSET


def _no_start_interval(request: ContainerCreateRequest) -> None:
    if not isinstance(request.healthcheck, UnsetType):
        request.healthcheck.start_interval = UNSET


def _plain_read_only(request: ContainerCreateRequest) -> None:
    """Read-only binds were never recursive before 1.44."""
    for mount in _mounts(request, "bind"):
        options = mount.bind_options if not isinstance(mount.bind_options, UnsetType) else BindOptions()
        if given(options.read_only_force_recursive, False):
            raise InvalidArgument("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer")
        if given(mount.read_only, False):
            options.read_only_non_recursive = True
            mount.bind_options = options


def _one_endpoint(request: ContainerCreateRequest) -> None:
    if len(_endpoints(request)) > 1:
        names = ", ".join(_endpoints(request))
        raise InvalidArgument(f"Container cannot be created with multiple network endpoints: {names}")


def _no_subpath(request: ContainerCreateRequest) -> None:
    for mount in _mounts(request):
        if not isinstance(mount.volume_options, UnsetType) and given(mount.volume_options.subpath, ""):
            raise InvalidArgument("VolumeOptions.Subpath needs API v1.45 or newer")


def _no_gateway_priority(request: ContainerCreateRequest) -> None:
    for endpoint in _endpoints(request).values():
        endpoint.gw_priority = 0


def _no_image_mounts(request: ContainerCreateRequest) -> None:
    if any(_mounts(request, "image")):
        raise InvalidArgument('Mount type "Image" needs API v1.48 or newer')


def _volume_driver(request: ContainerCreateRequest) -> str | None:
    if not _host(request).volume_driver:
        return None
    for mount in _mounts(request, "volume"):
        options = mount.volume_options
        driver = UNSET if isinstance(options, UnsetType) else options.driver_config
        if isinstance(driver, UnsetType) or not given(driver.name, ""):
            return (
                "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via "
                "'mount'. Use '--mount type=volume,volume-driver=...' instead"
            )
    return None


def _fill_port_bindings(request: ContainerCreateRequest) -> list[str]:
    bindings = _host(request).port_bindings or {}
    empty = [port for port, ports in bindings.items() if not ports]
    for port in empty:
        bindings[port] = [PortBinding()]
    return empty


def _empty_port_bindings(request: ContainerCreateRequest) -> None:
    _fill_port_bindings(request)


def _warn_of_empty_port_bindings(request: ContainerCreateRequest) -> str | None:
    empty = _fill_port_bindings(request)
    if not empty:
        return None
    return (
        f"Following container port(s) have an empty list of port-bindings: {', '.join(empty)}. "
        "Such bindings will be discarded in a future version."
    )


def _update_pids_limit(request: ContainerUpdateRequest) -> None:
    """0 and negative numbers are all "unlimited"."""
    if request.pids_limit is not None and request.pids_limit <= 0:
        request.pids_limit = 0


def _update_without_pids(request: ContainerUpdateRequest) -> None:
    request.pids_limit = None


def _update_without_devices(request: ContainerUpdateRequest) -> None:
    request.blkio_weight_device = None
    request.blkio_device_read_bps = request.blkio_device_write_bps = None
    request.blkio_device_read_iops = request.blkio_device_write_iops = None


def _exec_without_console_size(request: ExecCreateRequest | ExecStartRequest) -> None:
    request.console_size = None


def _console_size_needs_tty(request: ExecStartRequest) -> None:
    if not request.tty:
        request.console_size = None


def _always_ipv4(request: NetworkCreateRequest) -> None:
    request.enable_ipv4 = None


def _prune_named_volumes(filters: Filters) -> Filters:
    """Before 1.42 pruning took all unused volumes, not anonymous ones only."""
    return filters.with_value("all", "true")


REQUESTS: tuple[Gate, ...] = (
    Gate("ContainerCreate", _complete),
    Gate("ContainerCreate", _ignore_non_recursive, below=(1, 40)),
    Gate("ContainerCreate", _shareable_ipc, below=(1, 40)),
    Gate("ContainerCreate", _ignore_mount_options, below=(1, 42)),
    Gate("ContainerCreate", _no_console_size, below=(1, 42)),
    Gate("ContainerCreate", _check_mount_options, since=(1, 42)),
    Gate("ContainerCreate", _no_annotations, below=(1, 43)),
    Gate("ContainerCreate", _no_start_interval, below=(1, 44)),
    Gate("ContainerCreate", _plain_read_only, below=(1, 44)),
    Gate("ContainerCreate", _one_endpoint, below=(1, 44)),
    Gate("ContainerCreate", _no_subpath, below=(1, 45)),
    Gate("ContainerCreate", _no_gateway_priority, below=(1, 48)),
    Gate("ContainerCreate", _no_image_mounts, below=(1, 48)),
    Gate("ContainerCreate", _volume_driver, since=(1, 48)),
    Gate("ContainerCreate", endpoints.move_mac_1_43, below=(1, 44)),
    Gate("ContainerCreate", endpoints.move_mac_1_44, since=(1, 44), below=(1, 52)),
    Gate("ContainerCreate", endpoints.no_mac, since=(1, 52)),
    Gate("ContainerCreate", endpoints.move_sysctls, below=(1, 48)),
    Gate("ContainerCreate", endpoints.refuse_sysctls, since=(1, 48)),
    Gate("ContainerCreate", _empty_port_bindings, below=(1, 52)),
    Gate("ContainerCreate", _warn_of_empty_port_bindings, since=(1, 52)),
    Gate("ContainerUpdate", _update_pids_limit),
    Gate("ContainerUpdate", _update_without_pids, below=(1, 40)),
    Gate("ContainerUpdate", _update_without_devices, below=(1, 55)),
    Gate("ContainerExec", _exec_without_console_size, below=(1, 42)),
    Gate("ExecStart", _exec_without_console_size, below=(1, 42)),
    Gate("ExecStart", _console_size_needs_tty),
    Gate("NetworkCreate", _always_ipv4, below=(1, 48)),
)

FILTERS: tuple[Gate, ...] = (Gate("VolumePrune", _prune_named_volumes, below=(1, 42)),)
