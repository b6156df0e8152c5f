"""Directories of clients with an OCI image layout: caches (`type=local`), and images (`oci-layout://`).

The engine reads and writes blobs there; which manifest is the directory's, the client says and notes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ... import errors
from ...images.config import Descriptor
from ...images.content import Ingest, digest_of
from ...images.references import check_digest
from ...images.unpack import LayerFile, Unpacking
from ..client import Client
from ..context import Context

if TYPE_CHECKING:
    from ..exporting.manifests import Blobs

_CHUNK_BYTES = 1 << 20


class Directory:
    """One such directory, by what the client calls it: `local:` with its path, `oci:` with a name."""

    def __init__(self, client: Client, store: str, *, session: str = "") -> None:
        self._client, self._store, self._session = client, store, session

    async def read(self, digest: str, limit: int) -> bytes:
        """Read a document. Raises InvalidArgument for one that is too large or is not what its name says."""
        check_digest(digest)
        data = b""
        async for piece in self._client.read_blob(self._store, digest, session=self._session):
            data += piece
            if len(data) > limit:
                raise errors.InvalidArgument(f"{digest} is too large")
        if digest_of(data) != digest:
            raise errors.InvalidArgument(f"unexpected digest {digest_of(data)}, expected {digest}")
        return data

    async def fetch_layers(
        self, context: Context, layers: Mapping[str, Descriptor], undo: AsyncExitStack, pins: list[str]
    ) -> None:
        """Have layers here, by diff id. What is not kept in the end goes with `undo`."""
        images = context.images
        unpacking = Unpacking(images.content, images.snapshotter, images.workers)
        undo.push_async_callback(unpacking.close)
        ingests: dict[str, Ingest] = {}
        for layer in layers.values():
            if layer.digest not in ingests:
                ingests[layer.digest] = ingest = images.content.ingest()
                undo.callback(ingest.abort)
                await self._receive(layer, ingest)
                unpacking.start(LayerFile(ingest.path, layer.digest, layer.size))
        for diff_id, layer in layers.items():
            if (await unpacking.result(layer.digest)).diff_id != diff_id:
                raise errors.InvalidArgument("a layer has another content than its config says")
        for digest, ingest in ingests.items():
            images.content.adopt(ingest.path, digest)
        with images.store.transaction():
            for digest in ingests:
                unpacking.keep(digest)

    async def write(self, blobs: Blobs) -> None:
        for digest, path in blobs.files.items():
            await self._client.write_blob(self._store, digest, path.stat().st_size, _pieces(path))
        for digest, data in blobs.data.items():
            await self._client.write_blob(self._store, digest, len(data), _once(data))

    async def _receive(self, layer: Descriptor, ingest: Ingest) -> None:
        async for piece in self._client.read_blob(self._store, layer.digest, session=self._session):
            await asyncio.to_thread(ingest.write, piece)
            if ingest.size > layer.size:
                break
        ingest.close()
        if (ingest.digest, ingest.size) != (layer.digest, layer.size):
            raise errors.InvalidArgument(f"unexpected digest {ingest.digest}, expected {layer.digest}")


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield piece


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
