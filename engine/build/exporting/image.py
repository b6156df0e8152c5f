"""The image exporter: a result becomes an image of this engine, with the names that were asked for."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ... import errors
from ...images.catalog import Image
from ...images.config import MANIFEST, Descriptor
from ...images.import_image import store
from ...images.references import Reference, parse
from ..caching.inline import inline
from ..frontend import BuiltImage, Result
from ..progress import Progress
from ..request import Exporter, Outcome
from ..solver import Solver
from .config import completed, layer_times
from .layers import blob_of, packed
from .telling import Telling

SEVERAL_PLATFORMS = (
    "exporting multi-platform images to the image store is not supported; use the oci exporter, or push to a registry"
)


async def export(
    solver: Solver, result: Result, exporter: Exporter, progress: Progress, *, epoch_s: int | None, has_cache: bool
) -> Outcome:
    """Make the image, with its cache inline where that is asked for. A name that another image had is taken from it."""
    if not result.images:
        raise errors.InvalidArgument("there is no image to export")
    if len(result.images) > 1:
        raise errors.NotImplemented(SEVERAL_PLATFORMS)
    names = references(exporter)
    telling = Telling(progress, "exporting to image")
    with telling.told():
        with telling.part("exporting layers"):
            image = await _make(solver, result.images[0], telling, epoch_s, has_cache=has_cache)
        for name, reference in names.items():
            with telling.part(f"naming to {name}"):
                solver.context.images.tag_image(image, reference)
        solver.context.images.tell("create", image)
    return outcome_of(solver, image, names)


def references(exporter: Exporter) -> dict[str, Reference]:
    """Return what an exporter's `name` lists, by the text."""
    listed = exporter.attributes.get("name", "")
    found = [parse(name) for name in listed.split(",") if name]
    return {str(reference): reference.with_default_tag() for reference in found}


async def _make(solver: Solver, built: BuiltImage, telling: Telling, epoch_s: int | None, *, has_cache: bool) -> Image:
    images = solver.context.images
    tree = await solver.layers(built.step)
    with images.garbage.pinned() as pins:
        diff_ids = await packed(solver.context, tree.layers, pins)
        config = completed(built.config, diff_ids, times_ns=layer_times(solver.context), epoch_s=epoch_s)
        if has_cache:
            config = msgspec.structs.replace(config, inline_cache=inline(solver, built))
        layers = [blob_of(solver.context, diff_id) for diff_id in diff_ids]
        image = store(images, config, layers, pins, keep_layers=lambda: None)
    images.durability.sync_soon()
    with telling.part(f"writing image {image.id}"):
        return image


def outcome_of(solver: Solver, image: Image, names: Collection[str]) -> Outcome:
    """Say what the image is, as dockerd does: its own digest stands for the manifest's."""
    size = solver.context.images.content.size(image.record.manifest)
    descriptor = Descriptor(image.manifest.media_type or MANIFEST, size, image.record.manifest)
    response = {"containerimage.digest": image.id, "containerimage.config.digest": image.id}
    if names:
        response["image.name"] = ",".join(names)
    return Outcome(image_id=image.id, descriptor=descriptor, response=response)
