"""Which volumes of plugins are mounted for whom: written down, so that none stays mounted, whatever happens to us.

Each mount point of a container counts for itself, as in dockerd: the plugin gets an id for it with Mount, and the same
with Unmount. Used by `Volumes`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec

from ..errors import Error, Internal
from ..ids import new_id
from ..store import Store
from .plugins import Plugins

logger = logging.getLogger(__name__)


class Attachment(msgspec.Struct, frozen=True):
    """A row of the `volume_attachments` table; its key is the id that the plugin was given."""

    volume: str
    driver: str
    container_id: str


class Attachments:
    """The mounts that plugins were asked for."""

    def __init__(self, store: Store, plugins: Plugins) -> None:
        self._table = store.table("volume_attachments", Attachment)
        self._plugins = plugins
        self._rows: dict[str, Attachment] = {}
        self._borrowed: set[str] = set()

    def load(self) -> None:
        self._rows = dict(self._table.all())

    async def attach(self, volume: str, driver: str, container_id: str) -> str:
        """Have a volume mounted for a container that is to run; return where it is."""
        return (await self._mount(volume, driver, container_id))[1]

    async def detach(self, container_id: str) -> None:
        """Let all that was mounted for a container's run go."""
        found = [key for key, row in self._rows.items() if row.container_id == container_id]
        await asyncio.gather(*(self._unmount(key) for key in found if key not in self._borrowed))

    @asynccontextmanager
    async def borrow(self, volume: str, driver: str, container_id: str) -> AsyncIterator[str]:
        """Have a volume mounted for a moment; give where it is."""
        key, path = await self._mount(volume, driver, container_id, for_a_moment=True)
        try:
            yield path
        finally:
            self._borrowed.discard(key)
            await self._unmount(key)

    async def reconcile(self, running: Iterable[str]) -> None:
        """Let go what was mounted for containers that have ended while nobody looked."""
        kept = set(running)
        found = [key for key, row in self._rows.items() if row.container_id not in kept]
        await asyncio.gather(*(self._unmount(key) for key in found if key not in self._borrowed))

    async def _mount(
        self, volume: str, driver: str, container_id: str, *, for_a_moment: bool = False
    ) -> tuple[str, str]:
        key, row = new_id(), Attachment(volume, driver, container_id)
        self._rows[key] = row
        if for_a_moment:
            self._borrowed.add(key)
        self._table.put(key, row)
        try:
            plugin = await self._plugins.get(driver)
            path = await plugin.mount(volume, key)
        except BaseException as error:
            self._borrowed.discard(key)
            self._forget(key)
            if isinstance(error, Error):
                raise Internal(f"error while mounting volume '': {error}") from error
            raise
        return key, path

    async def _unmount(self, key: str) -> None:
        row = self._rows.get(key)
        if row is None:
            return
        try:
            plugin = await self._plugins.get(row.driver)
            await plugin.unmount(row.volume, key)
        except Error as error:
            logger.warning("%s: volume %s not unmounted: %s", row.container_id, row.volume, error)
        self._forget(key)

    def _forget(self, key: str) -> None:
        self._rows.pop(key, None)
        self._table.delete(key)
