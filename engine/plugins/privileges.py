"""What a plugin may do to the host, which its user has to accept before it is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...openapi.types.plugins import PluginConfig, PluginPrivilege
from ..errors import InvalidArgument


def required(config: PluginConfig) -> list[PluginPrivilege]:
    """Return all that a plugin asks for."""
    return [PluginPrivilege(name=name, description=text, value=list(value)) for name, text, value in _required(config)]


def check(config: PluginConfig, accepted: Sequence[PluginPrivilege]) -> None:
    """Raise unless what was accepted is just what the plugin asks for."""

    def known(privileges: Sequence[PluginPrivilege]) -> list[tuple[str, list[str]]]:
        return sorted((each.name, sorted(each.value or ())) for each in privileges)

    if known(required(config)) != known(accepted):
        raise InvalidArgument("incorrect privileges")


def _required(config: PluginConfig) -> Iterator[tuple[str, str, Sequence[str]]]:
    if config.network.type not in ("null", "bridge", ""):
        yield "network", "permissions to access a network", [config.network.type]
    if config.ipc_host:
        yield "host ipc namespace", "allow access to host ipc namespace", ["true"]
    if config.pid_host:
        yield "host pid namespace", "allow access to host pid namespace", ["true"]
    for mount in config.mounts or ():
        if mount.source is not None:
            yield "mount", "host path to mount", [mount.source]
    for device in config.linux.devices or ():
        if device.path is not None:
            yield "device", "host device to access", [device.path]
    if config.linux.allow_all_devices:
        yield "allow-all-devices", "allow 'rwm' access to all devices", ["true"]
    if config.linux.capabilities:
        yield "capabilities", "list of additional capabilities required", config.linux.capabilities
