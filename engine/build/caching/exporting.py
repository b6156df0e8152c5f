"""Results for another engine: a cache manifest, pushed to a registry or written to a directory of the client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from ... import errors
from ...images.config import MANIFEST, Descriptor
from ...images.references import parse
from ..exporting.layers import packed
from ..exporting.manifests import Blobs, Documents, ManifestDocument, Settings
from ..exporting.pushing import push_documents
from ..exporting.telling import Telling
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
    if not asked.flag("image-manifest", default=True):
        raise errors.NotImplemented("a cache is exported as an image manifest, not as an index")
    ignores_errors = asked.flag("ignore-error")
    mode = location.attributes.get("mode", "min")
    if mode not in _MODES:
        raise errors.InvalidArgument(f"unknown cache mode {mode}")
    write, place = _target(solver, location)
    telling = Telling(progress, f"exporting cache to {place}")
    steps = [step for built in result.images for step in (line if mode == "min" else every_step)(built.step)]
    try:
        async with AsyncExitStack() as undo:
            undo.enter_context(telling.told())
            documents = Documents(solver, Settings.of(asked, oci=True), undo)
            with telling.part("preparing build cache for export"):
                manifest = await _manifest(solver, documents, keys_of(solver, steps))
            with telling.part(f"writing cache manifest {manifest.digest}"):
                await write(documents.blobs, manifest)
        return manifest
    except errors.Error:
        if not ignores_errors:
            raise
        return None


def _target(solver: Solver, location: CacheLocation) -> tuple[Callable[[Blobs, Descriptor], Awaitable[None]], str]:
    """Return what writes blobs to a location, the last of them their manifest, and how the place is called."""
    match location.type:
        case "registry":
            reference = parse(location.attributes.get("ref", "")).with_default_tag()
            return lambda blobs, manifest: push_documents(solver, blobs, [manifest], reference), "registry"
        case "local":
            path = location.attributes.get("dest")
            if not path:
                raise errors.InvalidArgument("local cache exporter requires dest")
            directory = Directory(solver.client, path)
            return lambda blobs, manifest: directory.write(blobs), "client directory"
    raise errors.NotImplemented(f"exporting cache of type {location.type} is not supported")


async def _manifest(solver: Solver, documents: Documents, keys: Sequence[str]) -> Descriptor:
    records = [record for key in keys if (record := solver.context.cache.get(key)) is not None]
    diff_ids: dict[str, None] = {}
    for record in records:
        diff_ids.update(dict.fromkeys(await packed(solver.context, record.layers, documents.pins)))
    layers = []
    for diff_id in diff_ids:
        layer = await documents.layer(diff_id)
        layers.append(msgspec.structs.replace(layer, annotations={"containerd.io/uncompressed": diff_id}))
    config = documents.blobs.add(msgspec.json.encode(described(solver.context, keys)), CONFIG)
    manifest = ManifestDocument(2, MANIFEST, config, layers)
    return documents.blobs.add(msgspec.json.encode(manifest), MANIFEST)
