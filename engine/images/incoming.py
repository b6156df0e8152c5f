"""Layers on their way from a registry: one download and one unpacking each, for all pulls that want it.

Whoever comes first fetches, with its own connection and rights; the others wait, and are told the same. When it goes
away, another goes on where it ended. What nobody wants any more is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..ids import short_id
from ..snapshots.workers import Arrival, Unpacked
from .config import Descriptor
from .content import Ingest
from .narration import Narration
from .registry import blobs
from .registry.session import Session
from .unpack import LayerFile, Unpacking

if TYPE_CHECKING:
    from .images import Images


class IncomingLayer:
    def __init__(self, images: Images, layer: Descriptor) -> None:
        self._images, self._layer = images, layer
        self._shown = short_id(layer.digest)
        self._lock = asyncio.Lock()
        self._ingest: Ingest | None = None
        self._arrival = Arrival()
        self._unpacking = Unpacking(images.content, images.snapshotter, images.workers)
        self.listeners: list[Narration] = []
        self.has_failed = False

    async def fetch(self, session: Session, narration: Narration) -> None:
        """Fetch the layer, or wait until another has; unpacking has begun then."""
        async with self._lock:
            if self.has_failed:
                return
            if self._arrival.is_whole:
                narration.layer("Download complete", self._shown)
                return
            if self._images.downloads.locked():
                self._tell("Waiting")
            try:
                async with self._images.downloads:
                    await self._fetch(session)
            except asyncio.CancelledError:
                raise
            except BaseException:
                self.has_failed = True
                raise

    async def unpacked(self, narration: Narration) -> Unpacked:
        """Wait until the layer is unpacked."""
        async for done in self._unpacking.progress(self._layer.digest):
            narration.progress("Extracting", self._shown, done, self._layer.size)
        return await self._unpacking.result(self._layer.digest)

    def adopt(self) -> None:
        """Make a blob of the layer, unless that was done."""
        if self._ingest is not None and self._ingest.path.exists():
            self._images.content.adopt(self._ingest.path, self._layer.digest)

    def keep(self) -> None:
        """Keep the unpacked layer, unless that was done."""
        self._unpacking.keep(self._layer.digest)

    async def close(self) -> None:
        """Remove what was not adopted and kept."""
        await self._unpacking.close()
        if self._ingest is not None:
            await asyncio.to_thread(self._ingest.abort)

    async def _fetch(self, session: Session) -> None:
        layer = self._layer
        if self._ingest is None:
            self._ingest = self._images.content.ingest()
            self._unpacking.start(LayerFile(self._ingest.path, layer.digest, layer.size), self._arrival)
        # Fetched to the end even where unpacking fails, so that a layer that lies is told as that.
        await blobs.fetch(
            session,
            layer,
            self._ingest,
            attempts=self._images.registry.attempts,
            on_progress=self._note,
            on_wait=lambda left_s: self._tell(f"Retrying in {left_s} second{'s' if left_s != 1 else ''}"),
        )
        self._arrival.end()
        self._ingest.close()
        self._tell("Verifying Checksum")
        self._tell("Download complete")

    def _note(self, done: int) -> None:
        self._arrival.grow(done)
        for narration in self.listeners:
            narration.progress("Downloading", self._shown, done, self._layer.size)

    def _tell(self, action: str) -> None:
        for narration in self.listeners:
            narration.layer(action, self._shown)


class IncomingLayers:
    """What is on its way, by digest and size: a size may be a lie."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._layers: dict[tuple[str, int], IncomingLayer] = {}

    @asynccontextmanager
    async def joined(self, layer: Descriptor, narration: Narration) -> AsyncIterator[IncomingLayer]:
        """Share a layer for as long as the context lasts; the last to leave ends what is not done."""
        key = layer.digest, layer.size
        incoming = self._layers.get(key)
        if incoming is None or incoming.has_failed:
            incoming = self._layers[key] = IncomingLayer(self._images, layer)
        incoming.listeners.append(narration)
        try:
            yield incoming
        finally:
            incoming.listeners.remove(narration)
            if not incoming.listeners:
                if self._layers.get(key) is incoming:
                    del self._layers[key]
                await incoming.close()
