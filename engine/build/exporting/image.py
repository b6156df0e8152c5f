"""The image exporter: a result becomes an image of this engine, or is pushed to registries, or both.

An image of one platform of which nothing is asked is kept as the classic builder keeps it: its digest is that of its
config, its layers are as they are here. Whatever else is kept with its manifests, and the index that is over them.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import replace

import msgspec

from ... import errors
from ...images.catalog import Image
from ...images.config import INDEXES, MANIFEST, Descriptor, Manifest, Platform
from ...images.import_image import store
from ...images.references import Reference
from ..caching.inline import inline
from ..request import Exporter, Outcome
from ..solver import Solver
from .config import completed, layer_times
from .job import Job, Made, make, references
from .layers import blob_of, packed
from .pushing import push_documents
from .telling import Telling
from .trust import check_trust

_FORMS = (
    "compression", "compression-level", "force-compression", "oci-mediatypes", "oci-artifact", "attestation-inline",
)  # fmt: skip


async def export(job: Job) -> Outcome:
    """Make the image, with its cache inline where that is asked for. A name that another image had is taken from it."""
    exporter, names = job.exporter, references(job.exporter)
    pushes, is_kept = exporter.flag("push"), exporter.flag("store", default=True)
    if not job.result.images:
        raise errors.InvalidArgument("there is no image to export")
    if pushes and not names:
        raise errors.InvalidArgument("tag is needed when pushing to registry")
    for reference in names.values() if pushes else ():
        await check_trust(job.solver.context, exporter, reference)
    outcome = Outcome()
    async with AsyncExitStack() as undo:
        telling = undo.enter_context(job.told("exporting to image"))
        has_form = _has_form(job)
        made = await make(job, telling, undo, oci=False) if pushes or has_form else None
        if is_kept:
            outcome = await _keep(job, telling, made if has_form else None, names)
        elif made is not None:
            outcome = _outcome(made, names)
        if pushes and made is not None:
            await _push(job, telling, made, names)
            outcome = replace(_outcome(made, names), image_id=outcome.image_id)
    return outcome


def _has_form(job: Job) -> bool:
    """Whether there is more to keep than an image's config and layers. Provenance goes to registries unasked."""
    attributes = job.exporter.attributes
    is_asked = any(name in _FORMS or name.startswith("annotation") for name in attributes)
    is_attested = job.provenance is not None and not job.provenance.is_inline_only
    return is_asked or is_attested or len(job.result.images) > 1


async def _keep(job: Job, telling: Telling, made: Made | None, names: dict[str, Reference]) -> Outcome:
    """Make it an image of the engine, under its names and what else is asked for."""
    images = job.solver.context.images
    if made is None:
        with telling.part("exporting layers"):
            image = await _plain(job, telling)
        index, digest, outcome = "", image.record.manifest, _plain_outcome(job.solver, image, names)
    else:
        image = await _kept(job.solver, made)
        digest = made.top.digest
        index = digest if made.top.media_type in INDEXES else ""
        outcome = replace(_outcome(made, names), image_id=image.id)
    for name, reference in _all_names(job.exporter, names, digest).items():
        with telling.part(f"naming to {name}"):
            images.tag_image(image, reference, index=index)
    images.tell("create", image)
    return outcome


def _all_names(exporter: Exporter, names: dict[str, Reference], digest: str) -> dict[str, Reference]:
    """Return the names, and those with a digest: for all of them, or where an image has none."""
    if names and exporter.flag("name-canonical"):
        by_digest = [replace(reference, tag=None, digest=digest) for reference in names.values()]
        return names | {str(reference): reference for reference in by_digest}
    if not names and (prefix := exporter.attributes.get("dangling-name-prefix")):
        return references(Exporter("image", {"name": f"{prefix}@{digest}"}))
    return names


async def _plain(job: Job, telling: Telling) -> Image:
    solver, built = job.solver, job.result.images[0]
    images = solver.context.images
    tree = await solver.layers(built.step)
    with images.garbage.pinned() as pins:
        diff_ids = await packed(solver.context, tree.layers, pins)
        config = completed(built.config, diff_ids, times_ns=layer_times(solver.context), epoch_s=job.epoch_s)
        if job.has_cache:
            config = msgspec.structs.replace(config, inline_cache=inline(solver, built))
        layers = [blob_of(solver.context, diff_id) for diff_id in diff_ids]
        image = store(images, config, layers, pins, keep_layers=lambda: None)
    images.durability.sync_soon()
    with telling.part(f"writing image {image.id}"):
        return image


async def _kept(solver: Solver, made: Made) -> Image:
    """Store all documents and blobs; return the image of this host's platform, or the first one."""
    images, blobs, pins = solver.context.images, made.documents.blobs, made.documents.pins
    for digest in (*blobs.data, *blobs.files):
        images.garbage.pin(pins, digest)
    for digest, path in blobs.files.items():
        if not images.content.has(digest):
            images.content.adopt(path, digest)
        blobs.files[digest] = images.content.path(digest)
    for data in blobs.data.values():
        images.content.add(data)
    kept: list[Image] = []
    replaced: list[str] = []
    with images.store.transaction():
        for each in made.exported:
            manifest = msgspec.json.decode(blobs.data[each.descriptor.digest], type=Manifest)
            image_id, digest = manifest.config.digest, each.descriptor.digest
            images.durability.mark(image_id)
            image = images.catalog.add(image_id, each.config, manifest, manifest_digest=digest)
            if image.record.manifest != digest:
                replaced += image.blobs
                images.catalog.set_manifest(image, manifest, manifest_digest=digest)
            kept.append(image)
    await images.garbage.collect(blobs=replaced, diff_ids=())
    images.durability.sync_soon()
    here = Platform.of_host()
    return max(kept, key=lambda image: -1 if (rank := here.rank(image.config.platform)) is None else rank)


async def _push(job: Job, telling: Telling, made: Made, names: dict[str, Reference]) -> None:
    by_digest = job.exporter.flag("push-by-digest")
    for name, reference in names.items():
        with telling.part(f"pushing layers and manifest for {name}"):
            place = replace(reference, tag=None) if by_digest else reference
            await push_documents(job.solver, made.documents.blobs, [*made.below, made.top], place)


def _outcome(made: Made, names: Collection[str]) -> Outcome:
    response = made.response
    if names:
        response["image.name"] = ",".join(names)
    return Outcome(descriptor=made.top, response=response)


def _plain_outcome(solver: Solver, image: Image, names: Collection[str]) -> Outcome:
    """Say what the image is, as dockerd does: its own digest stands for the manifest's."""
    size = solver.context.images.content.size(image.record.manifest)
    descriptor = Descriptor(image.manifest.media_type or MANIFEST, size, image.record.manifest)
    response = {"containerimage.digest": image.id, "containerimage.config.digest": image.id}
    if names:
        response["image.name"] = ",".join(names)
    return Outcome(image_id=image.id, descriptor=descriptor, response=response)
