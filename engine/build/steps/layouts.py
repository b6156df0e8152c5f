"""Base images that a client has in a directory (`oci-layout://`): looked up and fetched over its session."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ... import errors
from ...images.config import INDEXES, Descriptor, Index, Manifest, Platform, check_history, decode_config
from ...images.content import digest_of
from ...images.indexes import described_platform, is_attestation
from ...images.references import parse
from ...images.registry import blobs, manifests
from ..caching.directory import Directory
from ..client import Client
from ..context import Context
from ..frontend import ResolvedImage
from ..graph import ImageSource, Layout
from .images import record

if TYPE_CHECKING:
    from ..flights import Heard

_MAX_NESTING = 4


async def resolve(client: Client, layout: Layout, reference: str, platform: Platform) -> ResolvedImage:
    """Look an image up by a reference with a digest. Raises NotFound, InvalidArgument."""
    directory = _directory(client, layout)
    manifest = await _manifest(directory, parse(reference).digest or "", platform)
    data = await directory.read(manifest.config.digest, blobs.MAX_CONFIG)
    config = decode_config(data)
    check_history(config)
    if len(config.diff_ids) != len(manifest.layers):
        raise errors.InvalidArgument(f"{reference}: layers from manifest don't match image configuration")
    return ResolvedImage(reference, config, data)


async def pull(context: Context, client: Client, step: ImageSource, resolved: ResolvedImage, heard: Heard) -> None:
    """Fetch an image's layers for the build cache."""
    assert step.layout is not None, "only a step that has one comes here"
    directory = _directory(client, step.layout)
    manifest = await _manifest(directory, parse(step.digest_ref).digest or "", step.platform)
    if manifest.config.digest != digest_of(resolved.config_bytes):
        raise errors.Conflict("the image has changed while it was used")
    layers = dict(zip(resolved.config.diff_ids, manifest.layers, strict=True))
    missing = {diff_id: each for diff_id, each in layers.items() if not _is_here(context, diff_id)}
    async with AsyncExitStack() as undo:
        pins = undo.enter_context(context.images.garbage.pinned())
        for diff_id, layer in layers.items():
            context.images.garbage.pin(pins, diff_id)
            context.images.garbage.pin(pins, layer.digest)
        await directory.fetch_layers(context, missing, undo, pins)
        with context.images.store.transaction():
            record(context, step, resolved)
            for diff_id, layer in missing.items():
                context.cache.set_blob(diff_id, layer)


def _directory(client: Client, layout: Layout) -> Directory:
    return Directory(client, layout.store, session=layout.session)


def _is_here(context: Context, diff_id: str) -> bool:
    has_blob = context.cache.blob(diff_id) or context.images.catalog.layer_descriptor(diff_id)
    return has_blob is not None and context.snapshots.layer(diff_id) is not None


async def _manifest(directory: Directory, digest: str, platform: Platform, *, nesting: int = 0) -> Manifest:
    """Follow indexes to the manifest for a platform."""
    data = await directory.read(digest, manifests.MAX_MANIFEST)
    index = manifests.decoded(data, Index)
    if index.manifests is None:
        return manifests.parse_manifest(data)
    if nesting > _MAX_NESTING:
        raise errors.InvalidArgument("indexes are nested too deeply")
    chosen = _chosen(index.manifests, platform)
    if chosen is None:
        raise errors.NotFound(f"no match for platform in manifest {digest}: not found")
    return await _manifest(directory, chosen.digest, platform, nesting=nesting + 1)


def _chosen(found: list[Descriptor], platform: Platform) -> Descriptor | None:
    """Return the entry that fits best; one without a platform, or an index within, may be for any."""
    ranked = []
    for each in found:
        described = described_platform(each)
        rank = platform.rank(described) if described is not None else -1
        if rank is not None and not is_attestation(each) and (described is not None or each.media_type in INDEXES):
            ranked.append((rank, each))
    return max(ranked, key=lambda pair: pair[0])[1] if ranked else (found[0] if len(found) == 1 else None)
