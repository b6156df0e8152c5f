"""Results for another engine: a cache manifest, pushed to a registry or written to a directory of the client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from ... import errors
from ...images.config import DOCKER_INDEX, INDEX, MANIFEST, Descriptor
from ...images.references import parse
from ..exporting.layers import packed
from ..exporting.manifests import Blobs, Documents, IndexDocument, ManifestDocument, Settings
from ..exporting.pushing import push_documents
from ..exporting.telling import Telling
from ..exporting.trust import check_trust
from ..progress import Progress
from ..request import CacheLocation, Exporter
from .directory import Directory
from .document import CONFIG, described
from .inline import every_step, keys_of, line

if TYPE_CHECKING:
    from ..frontend import Result
    from ..solver import Solver

_MODES = ("min", "max")


async def export(solver: Solver, result: Result, location: CacheLocation, progress: Progress) -> Descriptor | None:
    """Export the records of a build: those of the result's own layers, or with mode=max of all its steps.

    The answer is the manifest that they are in; none where that has failed, and this is to be ignored.
    """
    asked = Exporter(location.type, location.attributes)
    is_oci = asked.flag("oci-mediatypes", default=True)
    is_manifest = asked.flag("image-manifest", default=is_oci)
    if is_manifest and not is_oci:
        raise errors.InvalidArgument(
            "invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format"
        )
    ignores_errors = asked.flag("ignore-error")
    mode = location.attributes.get("mode", "min")
    if mode not in _MODES:
        raise errors.InvalidArgument(f"unknown cache mode {mode}")
    write, place = await _target(solver, asked)
    telling = Telling(progress, f"exporting cache to {place}")
    steps = [step for built in result.images for step in (line if mode == "min" else every_step)(built.step)]
    try:
        async with AsyncExitStack() as undo:
            undo.enter_context(telling.told())
            documents = Documents(solver, Settings.of(asked, oci=True), undo)
            with telling.part("preparing build cache for export"):
                manifest = await _manifest(solver, documents, keys_of(solver, steps), is_manifest=is_manifest)
            with telling.part(f"writing cache manifest {manifest.digest}"):
                await write(documents.blobs, manifest)
        return manifest
    except errors.Error:
        if not ignores_errors:
            raise
        return None


async def _target(solver: Solver, location: Exporter) -> tuple[Callable[[Blobs, Descriptor], Awaitable[None]], str]:
    """Return what writes blobs to a location, the last of them their manifest, and how the place is called."""
    match location.type:
        case "registry":
            if not (text := location.attributes.get("ref")):
                raise errors.InvalidArgument("missing ref")
            reference = parse(text).with_default_tag()
            await check_trust(solver.context, location, reference)
            return lambda blobs, manifest: push_documents(solver, blobs, [manifest], reference), "registry"
        case "local":
            path = location.attributes.get("dest")
            if not path:
                raise errors.InvalidArgument("local cache exporter requires dest")
            directory = Directory(solver.client, f"local:{path}")
            return lambda blobs, manifest: directory.write(blobs), "client directory"
    raise errors.NotImplemented(f"exporting cache of type {location.type} is not supported")


async def _manifest(solver: Solver, documents: Documents, keys: Sequence[str], *, is_manifest: bool) -> Descriptor:
    """Make what names all layers and the records: a manifest, or in the older form an index."""
    records = [record for key in keys if (record := solver.context.cache.get(key)) is not None]
    diff_ids: dict[str, None] = {}
    for record in records:
        diff_ids.update(dict.fromkeys(await packed(solver.context, record.layers, documents.pins)))
    layers = []
    for diff_id in diff_ids:
        layer = await documents.layer(diff_id)
        annotations = {"containerd.io/uncompressed": diff_id}
        layers.append(msgspec.structs.replace(layer.descriptor, annotations=annotations))
    config = documents.blobs.add(msgspec.json.encode(described(solver.context, keys)), CONFIG)
    if is_manifest:
        manifest = ManifestDocument(2, MANIFEST, config, layers)
        return documents.blobs.add(msgspec.json.encode(manifest), MANIFEST)
    media_type = INDEX if documents.settings.oci else DOCKER_INDEX
    index = IndexDocument(2, media_type, [*layers, config])
    return documents.blobs.add(msgspec.json.encode(index), media_type)
