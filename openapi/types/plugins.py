"""Managed plugins."""

from __future__ import annotations

from msgspec import UNSET, UnsetType, field

from .model import Model


class PluginMount(Model):
    """A mount of the plugin's; without a source it must be set before the plugin is enabled."""

    name: str = ""
    description: str = ""
    settable: list[str] | None = None
    source: str | None = None
    destination: str = ""
    type: str = ""
    options: list[str] | None = None


class PluginDevice(Model):
    """A device of the plugin's"""

    name: str = ""
    description: str = ""
    settable: list[str] | None = None
    path: str | None = None


class PluginEnv(Model):
    """A variable of the plugin's environment"""

    name: str = ""
    description: str = ""
    settable: list[str] | None = None
    value: str | None = None


class PluginInterface(Model):
    """The interface between Docker and the plugin"""

    types: list[str] | None = None
    socket: str = ""
    protocol_scheme: str | UnsetType = UNSET


class PluginUser(Model):
    """The plugin's user"""

    uid: int | UnsetType = field(default=UNSET, name="UID")
    gid: int | UnsetType = field(default=UNSET, name="GID")


class PluginNetwork(Model):
    """The plugin's network"""

    type: str = ""


class PluginLinux(Model):
    """What the plugin wants of Linux"""

    capabilities: list[str] | None = None
    allow_all_devices: bool = False
    devices: list[PluginDevice] | None = None


class PluginArgs(Model):
    """The plugin's arguments"""

    name: str = ""
    description: str = ""
    settable: list[str] | None = None
    value: list[str] | None = None


class PluginRootFS(Model):
    """The plugin's root file system"""

    type: str | UnsetType = field(default=UNSET, name="type")
    diff_ids: list[str] | UnsetType = field(default=UNSET, name="diff_ids")


class PluginConfig(Model):
    """The config of a plugin."""

    description: str = ""
    documentation: str = ""
    interface: PluginInterface = field(default_factory=PluginInterface)
    entrypoint: list[str] | None = None
    work_dir: str = ""
    user: PluginUser = field(default_factory=PluginUser)
    network: PluginNetwork = field(default_factory=PluginNetwork)
    linux: PluginLinux = field(default_factory=PluginLinux)
    propagated_mount: str = ""
    ipc_host: bool = False
    pid_host: bool = False
    mounts: list[PluginMount] | None = None
    env: list[PluginEnv] | None = None
    args: PluginArgs = field(default_factory=PluginArgs)
    rootfs: PluginRootFS | UnsetType = field(default=UNSET, name="rootfs")


class PluginSettings(Model):
    """user-configurable settings for the plugin."""

    mounts: list[PluginMount] | None = None
    env: list[str] | None = None
    args: list[str] | None = None
    devices: list[PluginDevice] | None = None


class Plugin(Model):
    """A plugin for the Engine API"""

    id: str | UnsetType = UNSET
    name: str = ""
    enabled: bool = False
    settings: PluginSettings = field(default_factory=PluginSettings)
    plugin_reference: str | UnsetType = UNSET
    config: PluginConfig = field(default_factory=PluginConfig)


class PluginPrivilege(Model):
    """Describes a permission the user has to accept upon installing the plugin."""

    name: str = ""
    description: str = ""
    value: list[str] | None = None
