"""Results from another engine: an image with inline cache or a cache manifest, here, at a registry or with the client.

What cannot be read is told, and the build goes on without it. Layers are fetched where a step's result is really used.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, Protocol

from ... import errors
from ...images.config import Descriptor, Index, Manifest, Platform
from ...images.narration import Narration
from ...images.references import Reference, parse
from ...images.registry import blobs, manifests
from ...images.registry.failures import Refused
from ...images.registry.session import Session
from ...images.sessions import with_session
from ...images.transfer import Transfer
from ..cache import CacheRecord
from ..client import Client
from ..context import Context
from ..exporting.telling import Telling
from ..exporting.trust import check_trust
from ..progress import Progress
from ..request import CacheLocation, Exporter
from ..steps.images import refused
from .directory import Directory
from .document import CONFIG, Document, decode


class Source(Protocol):
    """Where the layers of a cache are."""

    async def fetch_layers(
        self, context: Context, layers: Mapping[str, Descriptor], undo: AsyncExitStack, pins: list[str]
    ) -> None:
        """Have layers here, by diff id. Raises InvalidArgument for one with another content."""


class Repository:
    """Where a registry has them."""

    def __init__(self, client: Client, reference: Reference) -> None:
        self._client, self._reference = client, reference

    async def fetch_layers(
        self, context: Context, layers: Mapping[str, Descriptor], undo: AsyncExitStack, pins: list[str]
    ) -> None:
        credentials = await self._client.credentials(self._reference.domain)

        async def work(session: Session) -> None:
            transfer = Transfer(context.images, session, Narration(), pins, self._reference)
            undo.push_async_callback(transfer.close)
            found, fetched = await transfer.fetch_layers(list(layers.values()))
            if found != list(layers):
                raise errors.InvalidArgument("invalid cache config: a layer has another content")
            transfer.adopt_layers(fetched)
            with context.images.store.transaction():
                transfer.keep(fetched)

        await with_session(context.images, self._reference, credentials, work)


class Imported:
    """What one location has: chains of layers by key."""

    def __init__(self, source: Source, document: Document, layers: dict[str, Descriptor]) -> None:
        self._source, self._layers = source, layers
        self._document = document
        self._records = {record.digest: record for record in document.records if record.results}
        self._aliases = {alias: record.digest for record in document.records for alias in record.aliases}

    def has(self, key: str) -> bool:
        return key in self._records

    def alias(self, key: str) -> str | None:
        return self._aliases.get(key)

    async def fetch(self, context: Context, key: str) -> None:
        """Make a record of what is there, whose layers are here then."""
        record = self._records[key]
        diff_ids = self._document.chain(record.results[0].layer)
        if any(diff_id not in self._layers for diff_id in diff_ids):
            raise errors.NotFound("invalid cache config: a layer's blob is not there")
        missing = {each: self._layers[each] for each in diff_ids if context.snapshots.layer(each) is None}
        async with AsyncExitStack() as undo:
            pins = undo.enter_context(context.images.garbage.pinned())
            for diff_id in diff_ids:
                context.images.garbage.pin(pins, diff_id)
                context.images.garbage.pin(pins, self._layers[diff_id].digest)
            if missing:
                await self._source.fetch_layers(context, missing, undo, pins)
            with context.images.store.transaction():
                size = sum(layer.size for one in diff_ids[-1:] if (layer := context.snapshots.layer(one)))
                id = key.removeprefix("sha256:")[:25]
                context.cache.put(key, CacheRecord(id, diff_ids, record.description, size=size))
                for diff_id in diff_ids:
                    if context.images.content.has(self._layers[diff_id].digest):
                        context.cache.set_blob(diff_id, self._layers[diff_id])


async def imported(context: Context, client: Client, location: CacheLocation, progress: Progress) -> Imported | None:
    """Read what a location has, None where it has nothing of use."""
    if location.type == "local":
        return await _told(progress, f"local:{location.attributes.get('src', '')}", _in_directory(client, location))
    if location.type != "registry":
        raise errors.NotImplemented(f"importing cache of type {location.type} is not supported")
    if not (text := location.attributes.get("ref")):
        raise errors.InvalidArgument("missing ref")
    reference = parse(text).with_default_tag()
    return await _told(progress, text, _of_reference(context, client, reference, location))


async def _told(progress: Progress, name: str, reading: Coroutine[Any, Any, Imported]) -> Imported | None:
    try:
        with Telling(progress, f"importing cache manifest from {name}").told():
            return await reading
    except errors.Error:
        return None  # told already; as in BuildKit a build does without


async def _in_directory(client: Client, location: CacheLocation) -> Imported:
    for name in ("src", "digest"):
        if not location.attributes.get(name):
            raise errors.InvalidArgument(f"a local cache is imported by its {name}, which is missing")
    directory = Directory(client, f"local:{location.attributes['src']}")
    manifest = _manifest(await directory.read(location.attributes["digest"], manifests.MAX_MANIFEST))
    if manifest is None:
        raise errors.NotFound("no cache config is in the manifest")
    data = await directory.read(manifest.config.digest, blobs.MAX_CONFIG)
    return Imported(directory, decode(data), _layers(manifest))


async def _of_reference(context: Context, client: Client, reference: Reference, location: CacheLocation) -> Imported:
    await check_trust(context, Exporter(location.type, location.attributes), reference)
    return _local(context, client, reference) or await _remote(context, client, reference)


def _local(context: Context, client: Client, reference: Reference) -> Imported | None:
    image = context.images.catalog.lookup(reference)
    if image is None or image.config.inline_cache is None:
        return None
    layers = dict(zip(image.diff_ids, image.manifest.layers, strict=True))
    return Imported(Repository(client, reference), decode(_inline(image.config.inline_cache)), layers)


async def _remote(context: Context, client: Client, reference: Reference) -> Imported:
    credentials = await client.credentials(reference.domain)
    source = Repository(client, reference)

    async def work(session: Session) -> Imported:
        wanted = reference.digest or reference.tag or ""
        top = await manifests.fetch(session, reference, wanted, digest=reference.digest)
        if (cache := _manifest(top.data)) is not None:
            data = await blobs.fetch_config(session, cache.config, context.images.registry.attempts)
            return Imported(source, decode(data), _layers(cache))
        found = await manifests.choose(session, reference, top, Platform.of_host())
        manifest = manifests.parse_manifest(found.data)
        data, config = await Transfer(context.images, session, Narration(), [], reference).config(manifest.config)
        if config.inline_cache is None:
            raise errors.NotFound("no inline cache is in the image")
        layers = dict(zip(config.diff_ids, manifest.layers, strict=True))
        return Imported(source, decode(_inline(config.inline_cache)), layers)

    try:
        return await with_session(context.images, reference, credentials, work)
    except Refused as error:
        raise refused(error, reference) from error


def _manifest(data: bytes) -> Manifest | None:
    """Return what names a cache's layers and its config, be it a manifest or an index; None for that of an image."""
    index = manifests.decoded(data, Index)
    configs = [each for each in index.manifests or [] if each.media_type == CONFIG]
    if configs:
        layers = [each for each in index.manifests or [] if each.media_type != CONFIG]
        return Manifest(config=configs[0], layers=layers)
    if index.manifests is not None:
        return None
    manifest = manifests.parse_manifest(data)
    return manifest if manifest.config.media_type == CONFIG else None


def _layers(manifest: Manifest) -> dict[str, Descriptor]:
    """Return the layers of a cache manifest by their diff ids."""
    return {(layer.annotations or {}).get("containerd.io/uncompressed", ""): layer for layer in manifest.layers}


def _inline(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise errors.InvalidArgument(f"invalid inline cache: {error}") from error
