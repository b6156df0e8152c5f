"""The words of HostConfig's modes: which namespaces a container gets new, shares with the host or joins.

`NetworkMode`, `IpcMode`, `PidMode`, `UTSMode`, `CgroupnsMode` and `UsernsMode` are strings in the API; this is the one
place that reads them. Whether a container named in one exists is the life cycle's business.
"""

from __future__ import annotations

from ...openapi.types.config import Config
from ...openapi.types.hostconfig import HostConfig
from ...openapi.types.model import given
from ..errors import InvalidArgument

_CONTAINER = "container:"
_IPC = ("", "private", "shareable", "none", "host")
_CGROUPNS = ("", "private", "host")


def joined_container(mode: str) -> str | None:
    """Return the reference in `container:<ref>`, or None for another mode."""
    return mode.removeprefix(_CONTAINER) if mode.startswith(_CONTAINER) else None


def makes_network(mode: str) -> bool:
    """Whether the container gets a network namespace of its own."""
    return mode != "host" and joined_container(mode) is None


def makes_pid_namespace(mode: str) -> bool:
    """Whether the container gets a pid namespace of its own, and so can have an init."""
    return mode != "host" and joined_container(mode) is None


def check(host_config: HostConfig) -> None:
    """Refuse words that are no mode."""
    ipc, pid = host_config.ipc_mode, host_config.pid_mode
    if ipc not in _IPC and joined_container(ipc) is None:
        raise InvalidArgument(f"invalid IPC mode: {ipc}")
    if pid not in ("", "host") and not joined_container(pid):
        raise InvalidArgument(f"invalid PID mode: {pid}")
    if host_config.uts_mode not in ("", "host"):
        raise InvalidArgument(f"invalid UTS mode: {host_config.uts_mode}")
    if host_config.cgroupns_mode not in _CGROUPNS:
        raise InvalidArgument(f"invalid cgroup namespace mode: {host_config.cgroupns_mode}")
    if host_config.userns_mode not in ("", "host"):
        raise InvalidArgument(f"invalid USER mode: {host_config.userns_mode}")


def check_network(config: Config, host_config: HostConfig) -> None:
    """Refuse options that contradict the network mode or the host's UTS namespace (moby's runconfig)."""
    mode = host_config.network_mode
    if mode == "container" or mode.startswith(_CONTAINER):
        _check_joined_network(config, host_config)
    if host_config.uts_mode == "host" and config.hostname:
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if mode == "host" and host_config.links:
        raise InvalidArgument(
            "conflicting options: host type networking can't be used with links. "
            "This would result in undefined behavior"
        )


def _check_joined_network(config: Config, host_config: HostConfig) -> None:
    if not joined_container(host_config.network_mode):
        raise InvalidArgument("invalid network mode: invalid container format container:<name|id>")
    for is_set, reason in (
        (config.hostname, "hostname and the network mode"),
        (
            host_config.links,
            "container type network can't be used with links. This would result in undefined behavior",
        ),
        (host_config.dns, "dns and the network mode"),
        (host_config.extra_hosts, "custom host-to-IP mapping and the network mode"),
        (
            host_config.port_bindings or host_config.publish_all_ports,
            "port publishing and the container type network mode",
        ),
        (given(config.exposed_ports, {}), "port exposing and the container type network mode"),
    ):
        if is_set:
            raise InvalidArgument(f"conflicting options: {reason}")
