"""Images as documents and blobs, for archives and registries: layers compressed as asked, one manifest a platform."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ...images.config import (
    CONFIG,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    DescribedPlatform,
    Descriptor,
    ImageConfig,
    Platform,
    RootFS,
    layer_media_type,
)
from ...images.content import digest_of
from ...images.references import Reference
from ..caching.inline import inline
from ..frontend import BuiltImage
from ..request import Exporter
from ..solver import Solver
from .attestations import attested
from .attributes import Annotations, Compression
from .config import completed, layer_times
from .layers import blob_of, packed
from .packing import pack
from .provenance import Provenance

_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


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
    """How an exporter wants its documents; `oci` and `has_artifacts` as to their form."""

    compression: Compression = field(default_factory=Compression)
    oci: bool = True
    has_artifacts: bool = False
    annotations: Annotations = field(default_factory=Annotations)
    rewrites_times: bool = False

    @classmethod
    def of(cls, exporter: Exporter, *, oci: bool, is_attested: bool = False) -> Settings:
        """Read them; Docker's media types have no place for attestations and some annotations."""
        annotations, has_artifacts = Annotations.of(exporter), exporter.flag("oci-artifact")
        needs_oci = is_attested or has_artifacts or annotations.needs_oci
        return cls(
            Compression.of(exporter),
            needs_oci or exporter.flag("oci-mediatypes", default=oci),
            has_artifacts,
            annotations,
            exporter.flag("rewrite-timestamp"),
        )


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
class Layer:
    """A layer as a manifest names it."""

    diff_id: str
    descriptor: Descriptor


@dataclass(frozen=True)
class Exported:
    """One platform's image: its manifest as it is described, and its config."""

    built: BuiltImage
    descriptor: Descriptor
    manifest: ManifestDocument
    config: ImageConfig


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
        self._solver, self._undo, self._epoch_s = solver, undo, epoch_s
        self._layers: dict[tuple[str, bool], Layer] = {}
        self.settings = settings
        self.pins = undo.enter_context(solver.context.images.garbage.pinned())
        self.blobs = Blobs()

    async def image(self, built: BuiltImage) -> Exported:
        context, settings = self._solver.context, self.settings
        tree = await self._solver.layers(built.step)
        diff_ids = await packed(context, tree.layers, self.pins)
        config = completed(built.config, diff_ids, times_ns=layer_times(context), epoch_s=self._epoch_s)
        if self._has_cache:
            config = msgspec.structs.replace(config, inline_cache=inline(self._solver, built))
        own = _without(diff_ids, base_layers(self._solver, built))
        layers = [await self.layer(diff_id, is_own=number >= own) for number, diff_id in enumerate(diff_ids)]
        config.rootfs = RootFS(diff_ids=[layer.diff_id for layer in layers])
        manifest = ManifestDocument(
            2,
            MANIFEST if settings.oci else DOCKER_MANIFEST,
            self.blobs.add(msgspec.json.encode(config), CONFIG if settings.oci else _DOCKER_CONFIG),
            [layer.descriptor for layer in layers],
            settings.annotations.of_platform("manifest", built.platform) or None,
        )
        descriptor = self.blobs.add(
            msgspec.json.encode(manifest),
            manifest.media_type,
            annotations=settings.annotations.of_platform("manifest-descriptor", built.platform) or None,
            platform=described(built.platform),
        )
        return Exported(built, descriptor, manifest, config)

    async def top(
        self, exported: list[Exported], names: list[Reference], provenance: Provenance | None
    ) -> tuple[list[Descriptor], Descriptor]:
        """Return the manifests below what stands for the result, and that: one manifest, or an index of several."""
        manifests = [each.descriptor for each in exported]
        if provenance is not None:
            manifests += [self._attested(each, names, provenance) for each in exported]
        if len(manifests) == 1:
            return [], manifests[0]
        annotations = self.settings.annotations
        media_type = INDEX if self.settings.oci else DOCKER_INDEX
        index = IndexDocument(2, media_type, manifests, annotations.of_index("index") or None)
        said = annotations.of_index("index-descriptor") or None
        return manifests, self.blobs.add(msgspec.json.encode(index), media_type, annotations=said)

    def _attested(self, exported: Exported, names: list[Reference], provenance: Provenance) -> Descriptor:
        layers = {diff_id: layer.descriptor for (diff_id, _), layer in self._layers.items()}
        statement = provenance.statement(self._solver, exported, names, layers)
        return attested(
            self.blobs, exported.descriptor, statement, provenance.predicate_type,
            is_artifact=self.settings.has_artifacts,
        )  # fmt: skip

    async def layer(self, diff_id: str, *, is_own: bool = True) -> Layer:
        """Return a packed layer as it was asked for; its blob is among the others then."""
        key = (diff_id, is_own)
        if key not in self._layers:
            self._layers[key] = await self._layer(diff_id, is_own=is_own)
        return self._layers[key]

    async def _layer(self, diff_id: str, *, is_own: bool) -> Layer:
        context, wanted = self._solver.context, self.settings.compression
        blob = blob_of(context, diff_id)
        source = context.images.content.path(blob.digest)
        latest_s = self._epoch_s if self.settings.rewrites_times and is_own else None
        has = blob.media_type.partition(".tar")[2].strip("+.")
        if latest_s is None and (has == wanted.type or (has and not wanted.is_forced)):
            self.blobs.files[blob.digest] = source
            return Layer(diff_id, Descriptor(self._media_type(has), blob.size, blob.digest))
        target = context.images.content.new_path()
        self._undo.callback(target.unlink, missing_ok=True)
        work = asyncio.ensure_future(asyncio.to_thread(pack, source, target, wanted, latest_s=latest_s))
        try:
            made = await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work])  # the thread cannot be stopped
            raise
        self.blobs.files[made.digest] = target
        return Layer(made.diff_id, Descriptor(self._media_type(wanted.type), made.size, made.digest))

    def _media_type(self, compression: str) -> str:
        """Return a layer's media type in the family of the manifest's."""
        if self.settings.oci:
            return layer_media_type(compression)
        return f"{_DOCKER_LAYER}{compression and '.'}{compression}"


def base_layers(solver: Solver, built: BuiltImage) -> list[str]:
    """Return the diff ids of the image that a result stands on."""
    found = (image for (ref, _), image in solver.resolved.items() if ref == built.base_digest_ref)
    image = next(found, None)
    return image.config.diff_ids if image is not None else []


def _without(diff_ids: Sequence[str], base: Sequence[str]) -> int:
    """Return how many of a result's layers are its base's."""
    pairs = enumerate(zip(diff_ids, base, strict=False))
    return next((number for number, (own, below) in pairs if own != below), min(len(diff_ids), len(base)))


def described(platform: Platform) -> DescribedPlatform:
    return DescribedPlatform(platform.os, platform.architecture, platform.variant)
