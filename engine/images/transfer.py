"""Fetching an image from a registry: its config and layers, all at the same time, each unpacked from its first byte on.

What is here already is not fetched again, and nothing is kept that was not verified. Whose the layers are then is the
caller's business: an image's (`pull.py`), or the build cache's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import Error, Internal, InvalidArgument
from ..ids import short_id
from .config import Descriptor, ImageConfig, Manifest, check_history, decode_config
from .content import Ingest
from .incoming import IncomingLayer
from .narration import Narration
from .references import Reference, check_digest
from .registry import blobs, manifests
from .registry.manifests import Document
from .registry.session import Session

if TYPE_CHECKING:
    from .images import Images

_MISMATCH = "layers from manifest don't match image configuration"


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image's documents; `layers` are the digests of those blobs that were not here."""

    manifest: Manifest
    config_data: bytes
    config: ImageConfig
    layers: list[str]


class Transfer:
    """Fetches one image's config and layers. `close` removes what was not kept."""

    def __init__(
        self, images: Images, session: Session, narration: Narration, pins: list[str], repository: Reference
    ) -> None:
        self._images, self._session, self._narration, self._pins = images, session, narration, pins
        self._repository = repository
        self._stack = AsyncExitStack()
        self._layers: dict[str, IncomingLayer] = {}
        self._ingests: dict[str, Ingest] = {}
        self._attached: list[str] = []

    async def fetch(self, document: Document) -> Fetched:
        """Fetch what is not here of a manifest's config and layers; it is nothing yet before it is adopted and kept."""
        manifest = manifests.parse_manifest(document.data)
        self._pin(document.digest, manifest.config.digest)
        try:
            async with asyncio.TaskGroup() as group:
                configured = group.create_task(self.config(manifest.config))
                layers = group.create_task(self.fetch_layers(manifest.layers))
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors
        data, config = configured.result()
        diff_ids, fetched = layers.result()
        if diff_ids != config.diff_ids:
            raise InvalidArgument(_MISMATCH)
        return Fetched(manifest, data, config, fetched)

    async def fetch_layers(self, descriptors: Sequence[Descriptor]) -> tuple[list[str], list[str]]:
        """Return the layers' diff ids, and the digests of those that were not here."""
        layers = list({layer.digest: layer for layer in descriptors}.values())
        self._pin(*(layer.digest for layer in layers))
        known_layers = {}
        for layer in layers:
            known_layers[layer.digest] = diff_id = self._known(layer)
            action = "Already exists" if diff_id is not None else "Pulling fs layer"
            self._narration.layer(action, short_id(layer.digest))
        try:
            async with asyncio.TaskGroup() as group:
                fetched = {
                    layer.digest: group.create_task(self._layer(layer))
                    for layer in layers
                    if known_layers[layer.digest] is None
                }
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors
        diff_ids = [known_layers[layer.digest] or fetched[layer.digest].result() for layer in descriptors]
        return diff_ids, list(fetched)

    async def fetch_attestation(self, descriptor: Descriptor) -> Document:
        """Fetch a manifest with all its blobs, which are no layers."""
        check_digest(descriptor.digest)
        self._pin(descriptor.digest)
        digest = descriptor.digest
        document = await manifests.fetch(self._session, self._repository, digest, digest=digest)
        manifest = manifests.parse_manifest(document.data)
        fetched: list[str] = []
        for blob in (manifest.config, *manifest.layers):
            self._pin(blob.digest)
            if not self._images.content.has(blob.digest) and blob.digest not in self._ingests:
                ingest = self._ingests[blob.digest] = self._images.content.ingest()
                await blobs.fetch(
                    self._session,
                    blob,
                    ingest,
                    attempts=self._images.registry.attempts,
                    on_progress=lambda done: None,
                    on_wait=lambda left_s: None,
                )
                ingest.close()
                fetched.append(blob.digest)
        self._attached += fetched
        return document

    def adopt_documents(self, documents: Sequence[Document]) -> None:
        """Keep manifests and indexes, and what was fetched of attestations."""
        for digest in self._attached:
            self._images.content.adopt(self._ingests[digest].path, digest)
        for document in documents:
            self._pin(document.digest)
            self._images.content.add(document.data)

    def adopt(self, fetched: Fetched) -> str:
        """Make blobs of what was fetched; return that of the config."""
        self.adopt_layers(fetched.layers)
        return self._images.content.add(fetched.config_data)

    def adopt_layers(self, digests: Sequence[str]) -> None:
        for digest in digests:
            self._layers[digest].adopt()
            self._images.sources.note(digest, self._repository)

    def keep(self, digests: Sequence[str]) -> None:
        """Keep the layers that were unpacked; in the transaction that records what needs them."""
        for digest in digests:
            self._layers[digest].keep()

    async def close(self) -> None:
        await self._stack.aclose()
        for ingest in self._ingests.values():
            await asyncio.to_thread(ingest.abort)

    def _known(self, layer: Descriptor) -> str | None:
        """Return the diff id of a layer that is here, blob and all, and keep it here."""
        diff_id = self._images.catalog.diff_id_of(layer.digest)
        if diff_id is not None:
            self._pin(diff_id)
        return diff_id

    async def config(self, descriptor: Descriptor) -> tuple[bytes, ImageConfig]:
        """Fetch and check an image's config."""
        attempts = self._images.registry.attempts
        data = await blobs.fetch_config(self._session, descriptor, attempts)
        config = decode_config(data)
        check_history(config)
        for diff_id in config.diff_ids:
            self._pin(diff_id)
        return data, config

    async def _layer(self, layer: Descriptor) -> str:
        """Have a layer fetched and unpacked; return its diff id."""
        shown = short_id(layer.digest)
        while True:
            incoming = await self._stack.enter_async_context(self._images.incoming.joined(layer, self._narration))
            await incoming.fetch(self._session, self._narration)
            if not incoming.has_failed:
                break
        self._layers[layer.digest] = incoming
        try:
            unpacked = await incoming.unpacked(self._narration)
        except Error as error:
            raise Internal(f"failed to register layer: {error}") from error
        self._narration.progress("Extracting", shown, layer.size, layer.size)
        self._narration.layer("Pull complete", shown)
        self._pin(unpacked.diff_id)
        return unpacked.diff_id

    def _pin(self, *digests: str) -> None:
        for digest in digests:
            self._images.garbage.pin(self._pins, digest)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error to tell of several that came at once: not one of those that it has only cancelled."""
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
