"""Images reach the disk a moment after they are told of, and one that did not is dropped at the next start.

Waiting for the disk takes longer than all else in a load, so it happens behind the client's back: an image is recorded
as unsynced, and one syncfs(2) after it makes it whole. A killed daemon loses nothing, the kernel has the data. After a
power cut the images that were unsynced are forgotten whole, as the last transactions of the database may be.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec

from ..snapshots.snapshotter import Snapshotter
from ..store import Store
from .content import ContentStore

logger = logging.getLogger(__name__)


class _Unsynced(msgspec.Struct):
    boot_id: str


class Durability:
    def __init__(self, store: Store, content: ContentStore, snapshotter: Snapshotter) -> None:
        self._content, self._snapshotter = content, snapshotter
        self._store = store
        self._table = store.table("unsynced_images", _Unsynced)
        self._boot_id = boot_id()
        self._pending = {image_id for image_id, _ in self._table.all()}
        self._task: asyncio.Task[None] | None = None

    def lost(self) -> list[str]:
        """Return the images that were not on disk when the machine went down."""
        return [image_id for image_id, record in self._table.all() if record.boot_id != self._boot_id]

    def forget(self, image_id: str) -> None:
        self._pending.discard(image_id)
        self._table.delete(image_id)

    def mark(self, image_id: str) -> None:
        """Note, in the transaction that records the image, that it is not on disk yet."""
        self._table.put(image_id, _Unsynced(self._boot_id))
        self._pending.add(image_id)

    def sync_soon(self) -> None:
        """Bring to disk what was marked; several images share a sync."""
        if self._task is None and self._pending:
            self._task = asyncio.create_task(self._sync(), name="syncing images")

    async def close(self) -> None:
        """Wait until all is on disk."""
        while self._pending:
            self.sync_soon()
            if self._task is not None:
                await self._task

    async def _sync(self) -> None:
        try:
            while batch := list(self._pending):
                await asyncio.to_thread(self._content.sync)
                await asyncio.to_thread(self._snapshotter.sync)
                with self._store.transaction():
                    for image_id in batch:
                        self.forget(image_id)
                await asyncio.to_thread(self._store.sync)
        except OSError as error:
            self._pending.clear()
            logger.error("syncing images failed, they would not survive a power cut: %s", error)
        finally:
            self._task = None


def boot_id() -> str:
    """Return what tells one run of the kernel from another."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
