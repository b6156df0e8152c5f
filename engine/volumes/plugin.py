"""One volume plugin of the old kind: what Docker's volume plugin protocol asks of it. Made by `plugins.py`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import Internal
from ..plugins.client import Client, Unreachable

if TYPE_CHECKING:
    import ssl

CAPABILITY = "VolumeDriver"
_LONG_S, _SHORT_S = 120.0, 60.0

logger = logging.getLogger(__name__)


class PluginVolume(msgspec.Struct, rename="pascal"):
    """A volume as its plugin describes it."""

    name: str = ""
    mountpoint: str = ""
    created_at: str = ""
    status: dict[str, Any] | None = None


class Plugin(Client):
    """A plugin that drives volumes."""

    def __init__(self, name: str, address: str, tls: ssl.SSLContext | None = None, *, limit_s: int = 0) -> None:
        super().__init__(name, address, tls, limit_s=limit_s)
        self._scope = ""

    async def create(self, name: str, options: Mapping[str, str] | None) -> None:
        await self._ask("Create", {"Name": name, "Opts": options}, timeout_s=_LONG_S)

    async def remove(self, name: str) -> None:
        await self._ask("Remove", {"Name": name})

    async def mount(self, name: str, mount_id: str) -> str:
        """Mount the volume for one user of it; return where."""
        answer = await self._ask("Mount", {"Name": name, "ID": mount_id}, timeout_s=_LONG_S)
        return str(answer.get("Mountpoint") or "")

    async def unmount(self, name: str, mount_id: str) -> None:
        await self._ask("Unmount", {"Name": name, "ID": mount_id})

    async def list(self) -> Sequence[PluginVolume]:
        """Return its volumes. Nobody who lists volumes waits for a plugin that is away, as they would under dockerd."""
        answer = await self._ask("List", {}, retry=False)
        return msgspec.convert(answer.get("Volumes") or [], list[PluginVolume])

    async def find(self, name: str, *, retry: bool = True) -> PluginVolume | None:
        """Return what the plugin says of a volume, or None where it has none; raise Unreachable."""
        try:
            answer = await self._ask("Get", {"Name": name}, retry=retry)
        except Unreachable:
            raise
        except Internal as error:
            logger.debug("volume plugin %s: %s: %s", self.name, name, error)
            return None
        return msgspec.convert(answer["Volume"], PluginVolume) if answer.get("Volume") else None

    async def scope(self) -> str:
        """Return `local` or `global`; a plugin need not know the question."""
        if not self._scope:
            try:
                answer = await self._ask("Capabilities", {})
            except Internal as error:
                logger.debug("volume plugin %s: no capabilities: %s", self.name, error)
                return "local"
            scope = str((answer.get("Capabilities") or {}).get("Scope") or "local").lower()
            self._scope = scope if scope in ("local", "global") else "local"
        return self._scope

    async def _ask(
        self, verb: str, request: dict[str, Any], *, timeout_s: float = _SHORT_S, retry: bool = True
    ) -> dict[str, Any]:
        answer = await self.call(f"{CAPABILITY}.{verb}", request, timeout_s=timeout_s, retry=retry)
        if answer.get("Err"):
            raise Internal(str(answer["Err"]))
        return answer
