"""Plugins from and to registries: a manifest as images have it, whose config is of a type of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec

from ..errors import Error, Internal, NotImplemented
from ..ids import short_id
from ..images.config import DOCKER_MANIFEST, Descriptor, Manifest
from ..images.narration import Narration
from ..images.pull import worded
from ..images.references import Reference
from ..images.registry import blobs, manifests, uploads
from ..images.registry.credentials import Credentials
from ..images.registry.failures import Refused
from ..images.registry.session import Session
from ..images.sessions import with_session

if TYPE_CHECKING:
    from ..images.images import Images

T = TypeVar("T")

CONFIG_TYPE = "application/vnd.docker.plugin.v1+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass(frozen=True)
class Fetched:
    """A plugin's blobs, which are in the content store; the caller has them pinned."""

    manifest: Manifest
    digest: str
    config: bytes


def manifest_of(config: Descriptor, layers: list[Descriptor]) -> bytes:
    return msgspec.json.encode(Manifest(2, DOCKER_MANIFEST, config, layers))


async def fetch_config(images: Images, reference: Reference, credentials: Credentials) -> bytes:
    """Return the config of a plugin at its registry, and leave nothing here."""

    async def work(session: Session) -> bytes:
        _, manifest = await _manifest(session, reference)
        return await blobs.fetch_config(session, manifest.config, images.registry.attempts)

    return await _at(images, reference, credentials, work)


async def pull(
    images: Images, reference: Reference, credentials: Credentials, narration: Narration, pins: list[str]
) -> Fetched:
    """Bring a plugin's blobs into the content store."""

    async def work(session: Session) -> Fetched:
        document, manifest = await _manifest(session, reference)
        if len(manifest.layers) != 1:
            raise NotImplemented("plugins of several layers are not supported yet")
        config = await blobs.fetch_config(session, manifest.config, images.registry.attempts)
        for digest in (manifest.config.digest, document.digest, manifest.layers[0].digest):
            images.garbage.pin(pins, digest)
        await _fetch_layer(images, session, manifest.layers[0], narration)
        images.content.add(config)
        images.content.add(document.data)
        narration.status(f"Digest: {document.digest}")
        narration.status("Status: Downloaded newer image for " + reference.familiar)
        return Fetched(manifest, document.digest, config)

    return await _at(images, reference, credentials, work)


async def push(
    images: Images,
    reference: Reference,
    credentials: Credentials,
    manifest_digest: str,
    narration: Narration,
) -> None:
    """Bring a plugin's blobs to its registry."""
    data = images.content.read(manifest_digest)
    manifest = manifests.parse_manifest(data)
    narration.status(f"The push refers to repository [{reference.familiar_name}]")

    async def work(session: Session) -> None:
        for blob in (manifest.config, *manifest.layers):
            await _push_blob(images, session, blob, narration)
        await uploads.put(session, f"manifests/{reference.tag}", data, manifest.media_type)

    try:
        await with_session(images, reference, credentials, work, pushes=True)
    except Error as error:
        raise Internal(f"error pushing plugin: {error}") from error
    narration.status(f"{reference.tag}: digest: {manifest_digest} size: {len(data)}")
    narration.say({"progressDetail": {}, "aux": {"Tag": reference.tag, "Digest": manifest_digest, "Size": len(data)}})


async def _at(
    images: Images, reference: Reference, credentials: Credentials, work: Callable[[Session], Awaitable[T]]
) -> T:
    try:
        return await with_session(images, reference, credentials, work)
    except Refused as error:
        raise worded(error, reference) from error


async def _manifest(session: Session, reference: Reference) -> tuple[manifests.Document, Manifest]:
    wanted = reference.digest or reference.tag or ""
    document = await manifests.fetch(session, reference, wanted, digest=reference.digest)
    if document.is_index:
        raise Internal(f"did not find plugin config for specified reference {reference.name}")
    manifest = manifests.parse_manifest(document.data)
    if manifest.config.media_type != CONFIG_TYPE:
        raise Internal(f"did not find plugin config for specified reference {reference.name}")
    return document, manifest


async def _fetch_layer(images: Images, session: Session, layer: Descriptor, narration: Narration) -> None:
    shown = short_id(layer.digest)
    if images.content.has(layer.digest):
        narration.layer("Already exists", shown)
        return
    ingest = images.content.ingest()
    try:
        await blobs.fetch(
            session,
            layer,
            ingest,
            attempts=images.registry.attempts,
            on_progress=lambda done: narration.progress("Downloading", shown, done, layer.size),
            on_wait=lambda left_s: narration.layer(f"Retrying in {left_s} seconds", shown),
        )
        images.content.commit(ingest, digest=layer.digest, size=layer.size)
    finally:
        ingest.abort()
    narration.layer("Download complete", shown)


async def _push_blob(images: Images, session: Session, blob: Descriptor, narration: Narration) -> None:
    shown = short_id(blob.digest)
    narration.layer("Preparing", shown)
    if not await uploads.exists(session, blob.digest):
        await uploads.upload(
            session,
            images.content.path(blob.digest),
            digest=blob.digest,
            size=blob.size,
            attempts=images.registry.attempts,
            on_progress=lambda done: narration.progress("Pushing", shown, done, blob.size),
        )
    narration.layer("Upload complete", shown)
