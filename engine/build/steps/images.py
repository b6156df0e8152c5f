"""Base images: looked up here or at their registry, and fetched where a step really needs their files.

An image that a build fetches is no image of `docker images`: its layers belong to the build cache.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ... import errors
from ...images.config import Platform, chain_ids, decode_config
from ...images.content import digest_of
from ...images.narration import Narration
from ...images.pull import check_media_types, worded
from ...images.references import Reference, parse
from ...images.registry import blobs, manifests
from ...images.registry.failures import Refused
from ...images.sessions import with_session
from ...images.transfer import Transfer
from ..cache import CacheRecord
from ..client import Client
from ..context import Context
from ..flights import Heard
from ..frontend import ResolvedImage
from ..graph import ImageSource
from ..keys import image_key
from ..progress import Status

if TYPE_CHECKING:
    from ...images.catalog import Image
    from ...images.registry.manifests import Document
    from ...images.registry.session import Session

logger = logging.getLogger(__name__)

_PULL = "pull"


async def resolve(
    context: Context, client: Client, reference: str, platform: Platform, *, mode: str = ""
) -> ResolvedImage:
    """Look an image up: here first, unless `mode` (`image-resolve-mode`) is pull; else at its registry."""
    parsed = parse(reference).with_default_tag()
    if mode != _PULL and (image := _local(context, parsed, platform)) is not None:
        return ResolvedImage(str(parsed), image.config, context.images.content.read(image.id))
    credentials = await client.credentials(parsed.domain)

    async def look_up(session: Session) -> ResolvedImage:
        top, document = await _document(session, parsed, platform)
        manifest = manifests.parse_manifest(document.data)
        data = await blobs.fetch_config(session, manifest.config, context.images.registry.attempts)
        named = parsed if parsed.digest is not None else f"{parsed}@{top}"
        return ResolvedImage(str(named), decode_config(data), data)

    try:
        return await with_session(context.images, parsed, credentials, look_up)
    except errors.Error as error:
        found = refused(error, parsed) if isinstance(error, Refused) else error
        raise type(found)(f"failed to resolve source metadata for {parsed}: {found}") from error


def refused(error: Refused, reference: Reference) -> errors.Error:
    """Word a registry's refusal as BuildKit does."""
    if error.code in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN"):
        return errors.NotFound(f"{reference}: not found")
    return worded(error, reference)


def _local(context: Context, reference: Reference, platform: Platform) -> Image | None:
    image = context.images.catalog.lookup(reference)
    if image is None and reference.digest is not None:
        image = context.images.catalog.get(reference.digest) or context.images.catalog.with_manifest(reference.digest)
    return image if image is not None and platform.rank(image.config.platform) is not None else None


def is_here(context: Context, resolved: ResolvedImage) -> bool:
    """Whether all of an image's layers are unpacked, and their blobs known."""
    return all(
        context.snapshots.layer(diff_id) is not None and blob_is_known(context, diff_id)
        for diff_id in resolved.config.diff_ids
    )


def blob_is_known(context: Context, diff_id: str) -> bool:
    return context.cache.blob(diff_id) is not None or context.images.catalog.layer_descriptor(diff_id) is not None


async def pull(context: Context, client: Client, step: ImageSource, resolved: ResolvedImage, heard: Heard) -> None:
    """Fetch an image's layers for the build cache."""
    reference = parse(step.digest_ref).with_default_tag()
    credentials = await client.credentials(reference.domain)
    narration = _Told(heard)

    async def fetch(session: Session) -> None:
        async with AsyncExitStack() as undo:
            pins = undo.enter_context(context.images.garbage.pinned())
            _, document = await _document(session, reference, step.platform)
            transfer = Transfer(context.images, session, narration, pins, reference)
            undo.push_async_callback(transfer.close)
            _check_same(document, resolved)
            fetched = await transfer.fetch(document)
            transfer.adopt(fetched)
            with context.images.store.transaction():
                transfer.keep(fetched.layers)
                record(context, step, resolved)
                for diff_id, descriptor in zip(resolved.config.diff_ids, fetched.manifest.layers, strict=True):
                    context.cache.set_blob(diff_id, descriptor)

    await with_session(context.images, reference, credentials, fetch)


def _check_same(document: Document, resolved: ResolvedImage) -> None:
    if manifests.parse_manifest(document.data).config.digest != digest_of(resolved.config_bytes):
        raise errors.Conflict("the image has changed at its registry while it was used")


def record(context: Context, step: ImageSource, resolved: ResolvedImage) -> None:
    """Note an image whose layers are here in the cache."""
    config = resolved.config
    layers = config.diff_ids
    key = image_key(layers, digest_of(resolved.config_bytes))
    size = sum(layer.size for diff_id in layers if (layer := context.snapshots.layer(diff_id)) is not None)
    id = (list(chain_ids(layers)) or [key])[-1].removeprefix("sha256:")[:25]
    context.cache.put(key, CacheRecord(id, layers, f"pulled from {step.digest_ref}", size=size))


async def _document(session: Session, reference: Reference, platform: Platform) -> tuple[str, Document]:
    """Return the digest of what a reference stands for, and the platform's manifest."""
    top = await manifests.fetch(session, reference, reference.digest or reference.tag or "", digest=reference.digest)
    document = await manifests.choose(session, reference, top, platform)
    check_media_types(document)
    return top.digest, document


class _Told(Narration):
    """Tells a build how far the layers are."""

    def __init__(self, heard: Heard) -> None:
        super().__init__()
        self._heard = heard

    def progress(self, action: str, id: str, current: int, total: int) -> None:
        shown = f"extracting {id}" if action == "Extracting" else id
        self._heard(Status("", shown, current, total))
