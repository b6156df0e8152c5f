"""The plugins of this host that networks use: the engine's own, and those that discovery finds.

A plugin is asked what it is able to do once, when a network first needs it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from ... import errors
from ...plugins.discovery import load
from .plugin import RETRIES, AddressPlugin, NetworkPlugin, RemotePlugin

logger = logging.getLogger(__name__)

P = TypeVar("P", bound=RemotePlugin)


class Managed(Protocol):
    """The plugins that the engine runs itself, which go before those that it finds."""

    def speaking(self, name: str, capability: str, kind: type[P]) -> P | None:
        """Return the one of that name as a `kind`, None where none has the capability. Raises Conflict."""

    def names_with(self, capability: str) -> Sequence[str]:
        """Return the names of all that are enabled and have a capability."""


class RemotePlugins:
    """Used from the event loop's thread."""

    def __init__(self) -> None:
        self.managed: Managed | None = None
        """Finds the engine's own. Set by the engine."""
        self.replay: Callable[[AddressPlugin], Awaitable[None]] | None = None
        """Tells a plugin that forgets them of the networks that it gave addresses to. Set by the service."""
        self._known: dict[tuple[str, str], RemotePlugin] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def network(self, name: str, *, retry: bool = True) -> NetworkPlugin:
        """Return the plugin that makes networks of a driver; with `retry` one that is not there is waited for.

        Raises NotFound, Conflict and Internal.
        """
        return await self._get(name, NetworkPlugin, retry=retry)

    async def addresses(self, name: str, *, retry: bool = True) -> AddressPlugin:
        """Return the plugin that gives out addresses, in the same way."""
        return await self._get(name, AddressPlugin, retry=retry)

    def managed_names(self) -> Sequence[str]:
        """Return the engine's own plugins that make networks."""
        return self.managed.names_with(NetworkPlugin.kind) if self.managed is not None else []

    def forget(self, name: str) -> None:
        """Ask a plugin anew what it is able to do: it may be another one when it is there again."""
        for key in [key for key in self._known if key[1] == name]:
            del self._known[key]

    async def _get(self, name: str, kind: type[P], *, retry: bool) -> P:
        key = (kind.kind, name)
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._known.get(key)
            if isinstance(known, kind):
                return known
            found = self.managed.speaking(name, kind.kind, kind) if self.managed is not None else None
            if found is None:
                found = await load(name, kind.capability, kind, retry=retry)
            await _learn(found, retries=RETRIES if retry else 0)
            if isinstance(found, AddressPlugin) and found.needs_replay and self.replay is not None:
                await self.replay(found)
            self._known[key] = found
            return found


async def _learn(plugin: RemotePlugin, *, retries: int) -> None:
    try:
        await plugin.learn(retries=retries)
    except errors.Error as error:
        logger.error("plugin %s: %s", plugin.name, error)
        raise errors.Internal(f"could not resolve driver {plugin.name} in registry") from error
