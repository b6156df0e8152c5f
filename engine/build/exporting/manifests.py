"""Images as documents and blobs, for archives and registries: layers compressed as asked, one manifest a platform."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ... import errors
from ...images.config import (
    CONFIG,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    LAYER,
    MANIFEST,
    DescribedPlatform,
    Descriptor,
    Platform,
    layer_media_type,
)
from ...images.content import digest_of
from ...images.push import compress
from ...images.references import Reference
from ..caching.inline import inline
from ..frontend import BuiltImage, Request
from ..request import Exporter
from ..solver import Solver
from .config import completed, layer_times
from .layers import blob_of, packed
from .provenance import attested

_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_COMPRESSIONS = ("gzip", "uncompressed")


class ManifestDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    """A manifest with what an image of ours never has in the catalog: annotations."""

    schema_version: int
    media_type: str
    config: Descriptor
    layers: list[Descriptor]
    annotations: dict[str, str] | None = None


class IndexDocument(msgspec.Struct, rename="camel", omit_defaults=True):
    schema_version: int
    media_type: str
    manifests: list[Descriptor]
    annotations: dict[str, str] | None = None


@dataclass(frozen=True)
class Settings:
    """How an exporter wants its documents."""

    compression: str = "gzip"
    oci: bool = True
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, exporter: Exporter, *, oci: bool) -> Settings:
        attributes = exporter.attributes
        compression = attributes.get("compression", "gzip")
        if compression not in _COMPRESSIONS:
            raise errors.NotImplemented(f"layers cannot be exported with compression {compression}")
        if exporter.flag("force-compression") or attributes.get("compression-level"):
            raise errors.NotImplemented("layers are compressed in one way, and only where they are not yet")
        named = (text for text in attributes if text.startswith("annotation"))
        annotations = {text.partition(".")[2]: attributes[text] for text in named}
        wants_oci = exporter.flag("oci-mediatypes", default=oci)
        return cls(compression, wants_oci or bool(annotations), annotations)


@dataclass
class Blobs:
    """What documents refer to, by digest: bytes, or files of the content store or of this export."""

    data: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    def add(self, data: bytes, media_type: str, **described: object) -> Descriptor:
        digest = digest_of(data)
        self.data[digest] = data
        return Descriptor(media_type, len(data), digest, **described)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Exported:
    """One platform's image: its manifest as it is described, and its config."""

    built: BuiltImage
    descriptor: Descriptor
    manifest: ManifestDocument
    diff_ids: tuple[str, ...]


class Documents:
    """Makes the documents of a result; what is made for them alone goes with `undo`."""

    def __init__(
        self,
        solver: Solver,
        settings: Settings,
        undo: AsyncExitStack,
        *,
        epoch_s: int | None = None,
        has_cache: bool = False,
    ) -> None:
        self._has_cache = has_cache
        self._solver, self._settings, self._undo, self._epoch_s = solver, settings, undo, epoch_s
        self.pins = undo.enter_context(solver.context.images.garbage.pinned())
        self.blobs = Blobs()

    async def image(self, built: BuiltImage) -> Exported:
        context = self._solver.context
        tree = await self._solver.layers(built.step)
        diff_ids = await packed(context, tree.layers, self.pins)
        config = completed(built.config, diff_ids, times_ns=layer_times(context), epoch_s=self._epoch_s)
        if self._has_cache:
            config = msgspec.structs.replace(config, inline_cache=inline(self._solver, built))
        layers = [await self.layer(diff_id) for diff_id in diff_ids]
        oci = self._settings.oci
        manifest = ManifestDocument(
            2,
            MANIFEST if oci else DOCKER_MANIFEST,
            self.blobs.add(msgspec.json.encode(config), CONFIG if oci else _DOCKER_CONFIG),
            layers,
            dict(self._settings.annotations) or None,
        )
        platform = described(built.platform)
        descriptor = self.blobs.add(msgspec.json.encode(manifest), manifest.media_type, platform=platform)
        return Exported(built, descriptor, manifest, tuple(diff_ids))

    async def top(
        self, exported: list[Exported], names: list[Reference], provenance: Request | None
    ) -> tuple[list[Descriptor], Descriptor]:
        """Return the manifests below what stands for the result, and that: one manifest, or an index of several."""
        manifests = [each.descriptor for each in exported]
        if provenance is not None:
            manifests += [attested(self._solver, self.blobs, each, names, provenance) for each in exported]
        if len(manifests) == 1:
            return [], manifests[0]
        media_type = INDEX if self._settings.oci else DOCKER_INDEX
        index = IndexDocument(2, media_type, manifests)
        return manifests, self.blobs.add(msgspec.json.encode(index), media_type)

    async def layer(self, diff_id: str) -> Descriptor:
        """Return a packed layer in the compression that was asked for; its blob is among the others then."""
        context = self._solver.context
        blob = blob_of(context, diff_id)
        source = context.images.content.path(blob.digest)
        is_plain = blob.media_type in (LAYER, _DOCKER_LAYER)
        if not is_plain or self._settings.compression == "uncompressed":
            self.blobs.files[blob.digest] = source
            return Descriptor(self._media_type(blob.media_type), blob.size, blob.digest)
        target = context.images.content.new_path()
        self._undo.callback(target.unlink, missing_ok=True)
        work = asyncio.ensure_future(asyncio.to_thread(compress, source, target, _ignore))
        try:
            digest, size = await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])  # the thread cannot be stopped
            raise
        self.blobs.files[digest] = target
        return Descriptor(self._media_type(layer_media_type("gzip")), size, digest)

    def _media_type(self, media_type: str) -> str:
        """Return the layer's media type in the family of the manifest's."""
        _, dot_tar, compression = media_type.partition(".tar")
        if self._settings.oci:
            return layer_media_type(compression.strip("+."))
        return f"{_DOCKER_LAYER}{compression.replace('+', '.')}"


def described(platform: Platform) -> DescribedPlatform:
    return DescribedPlatform(platform.os, platform.architecture, platform.variant)


def _ignore(done: int) -> None:
    """Nobody is told how far the compressing is."""
