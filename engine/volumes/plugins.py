"""The volume plugins of this host: the engine's own, and those that discovery finds.

A plugin is asked what it is once, when something first needs it. Used by `Volumes`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from ..errors import Error, Internal
from ..plugins.client import Unreachable
from ..plugins.discovery import load, scan
from .plugin import CAPABILITY, Plugin, PluginVolume

logger = logging.getLogger(__name__)


class Managed(Protocol):
    """The plugins that the engine runs itself, which go before those that it finds."""

    def volume_plugins(self) -> Sequence[Plugin]:
        """Return all that are enabled."""

    def volume_plugin(self, name: str) -> Plugin | None:
        """Return the one of that name, None where there is none. Raises Conflict for one that is disabled."""


class Plugins:
    """The plugins of this host that drive volumes."""

    def __init__(self) -> None:
        self.managed: Managed | None = None
        """Finds the engine's own. Set by the engine."""
        self._active: dict[str, Plugin] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    @property
    def names(self) -> Sequence[str]:
        """Those that have been used so far, as `docker info` lists them."""
        managed = self.managed.volume_plugins() if self.managed is not None else ()
        return sorted([*(plugin.name for plugin in managed), *self._active])

    async def get(self, name: str) -> Plugin:
        """Return the plugin of that name; one that is not there, or does not answer, is waited for a while."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            if self.managed is not None and (found := self.managed.volume_plugin(name)) is not None:
                return found
            if name not in self._active:
                try:
                    self._active[name] = await load(name, CAPABILITY, Plugin, retry=True)
                except Error as error:
                    raise type(error)(f"error looking up volume plugin {name}: {error}") from error
            return self._active[name]

    def full_name(self, name: str) -> str:
        """Return a driver's name with the tag that those of the engine's own plugins have."""
        found = self.managed.volume_plugin(name) if self.managed is not None and name else None
        return found.name if found is not None else name

    async def all(self) -> Sequence[Plugin]:
        """Return all that there are now, without waiting for one that does not answer."""
        await asyncio.gather(*(self._try(name) for name in set(scan()) - set(self._active)))
        managed = self.managed.volume_plugins() if self.managed is not None else ()
        return [*managed, *(self._active[name] for name in sorted(self._active))]

    async def told(self, driver: str, name: str) -> PluginVolume | None:
        """Return what a plugin says of a volume, None where it has none."""
        try:
            return await (await self.get(driver)).find(name)
        except Error as error:
            text = f'error while checking if volume "{name}" exists in driver "{driver}": {error}'
            raise Internal(text) from error

    async def driver_of(self, name: str) -> str:
        """Return the name of a plugin that has this volume, "" where none has."""
        for plugin in await self.all():
            try:
                if await plugin.find(name, retry=False) is not None:
                    return plugin.name
            except Unreachable:
                continue
        return ""

    async def listing(self) -> tuple[dict[str, Sequence[PluginVolume]], Sequence[str]]:
        """Return what each plugin lists, and a warning of each that failed to."""
        plugins = await self.all()
        answers = await asyncio.gather(*(plugin.list() for plugin in plugins), return_exceptions=True)
        told: dict[str, Sequence[PluginVolume]] = {}
        warnings = []
        for plugin, answer in zip(plugins, answers, strict=True):
            if isinstance(answer, Error):
                warnings.append(f"list {plugin.name}: {answer}")
            elif isinstance(answer, BaseException):
                raise answer
            else:
                told[plugin.name] = answer
        return told, warnings

    async def _try(self, name: str) -> None:
        try:
            self._active[name] = await load(name, CAPABILITY, Plugin, retry=False)
        except Error as error:
            logger.warning("plugin %s: %s", name, error)
