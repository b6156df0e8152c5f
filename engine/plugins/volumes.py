"""A managed plugin as a driver of volumes: it speaks the protocol of the old ones, of paths in its own root."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ..volumes.plugin import Plugin, PluginVolume
from .process import Process


class VolumePlugin(Plugin):
    """Tells of mount points where they are on the host."""

    def __init__(self, name: str, process: Process, *, limit_s: int) -> None:
        super().__init__(name, f"unix://{process.socket}", limit_s=limit_s)
        self._process = process

    async def mount(self, name: str, mount_id: str) -> str:
        mountpoint = await super().mount(name, mount_id)
        return self._process.on_host(mountpoint) if mountpoint else ""

    async def list(self) -> Sequence[PluginVolume]:
        return [self._on_host(volume) for volume in await super().list()]

    async def find(self, name: str, *, retry: bool = True) -> PluginVolume | None:
        found = await super().find(name, retry=retry)
        return self._on_host(found) if found is not None else None

    def _on_host(self, volume: PluginVolume) -> PluginVolume:
        return replace(volume, mountpoint=self._process.on_host(volume.mountpoint)) if volume.mountpoint else volume
