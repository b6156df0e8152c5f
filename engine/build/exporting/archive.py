"""The exporters oci and docker: an image layout as a tar, sent to the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec

from ... import errors
from ...images.config import Descriptor
from ...images.references import Reference
from ...images.save import LAYOUT, blob_path, padded, tar_header
from ...snapshots.tar import BLOCK, DIRECTORY, REGULAR
from ..frontend import Request, Result
from ..progress import Progress
from ..request import Exporter, Outcome
from ..solver import Solver
from .image import references
from .manifests import Blobs, Documents, Exported, IndexDocument, Settings
from .provenance import is_wanted
from .telling import Telling

_CHUNK = 1 << 20


class _Item(msgspec.Struct, rename="pascal"):
    """An image in the manifest.json that `docker load` reads."""

    config: str
    repo_tags: list[str] | None
    layers: list[str]


async def export(
    solver: Solver,
    result: Result,
    exporter: Exporter,
    progress: Progress,
    *,
    epoch_s: int | None,
    has_cache: bool,
    request: Request,
) -> Outcome:
    """Make the documents, and send them in one stream."""
    is_docker = exporter.type == "docker"
    if is_docker and len(result.images) != 1:
        raise errors.InvalidArgument("docker exporter does not currently support exporting manifest lists")
    if not exporter.flag("tar", default=True):
        raise errors.NotImplemented("image layouts are exported as tar only (tar=false)")
    settings = Settings.of(exporter, oci=not is_docker)
    names = references(exporter)
    telling = Telling(progress, f"exporting to {exporter.type} image format")
    async with AsyncExitStack() as undo:
        undo.enter_context(telling.told())
        documents = Documents(solver, settings, undo, epoch_s=epoch_s, has_cache=has_cache)
        with telling.part("exporting layers"):
            exported = [await documents.image(built) for built in result.images]
        for each in exported:
            with telling.part(f"exporting manifest {each.descriptor.digest}"):
                pass
        provenance = request if not is_docker and is_wanted(request) else None
        _, top = await documents.top(exported, list(names.values()), provenance)
        index = _index(top, list(names.values()))
        members = {"index.json": msgspec.json.encode(index), "oci-layout": LAYOUT}
        if is_docker:
            members["manifest.json"] = msgspec.json.encode([_item(exported[0], list(names.values()))])
        with telling.part("sending tarball"):
            await solver.client.send_stream(_archive(documents.blobs, members), exporter.attributes)
    return _outcome(top, exported)


def _index(top: Descriptor, names: list[Reference]) -> IndexDocument:
    """Return the layout's index: an entry for each name."""
    annotations: list[dict[str, str] | None] = [
        {"io.containerd.image.name": str(name), "org.opencontainers.image.ref.name": name.tag or ""} for name in names
    ]
    entries = [msgspec.structs.replace(top, annotations=each) for each in annotations or [None]]
    return IndexDocument(2, "application/vnd.oci.image.index.v1+json", entries)


def _item(exported: Exported, names: list[Reference]) -> _Item:
    layers = [blob_path(layer.digest) for layer in exported.manifest.layers]
    return _Item(blob_path(exported.manifest.config.digest), [name.familiar for name in names] or None, layers)


async def _archive(blobs: Blobs, members: dict[str, bytes]) -> AsyncIterator[bytes]:
    for directory in ("blobs/", "blobs/sha256/"):
        yield tar_header(directory, kind=DIRECTORY, size=0, mtime_s=0)
    for digest in sorted({*blobs.data, *blobs.files}):
        if digest in blobs.data:
            members = {blob_path(digest): blobs.data[digest], **members}
            continue
        path = blobs.files[digest]
        size = path.stat().st_size
        yield tar_header(blob_path(digest), kind=REGULAR, size=size, mtime_s=0)
        with open(path, "rb", buffering=0) as file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK):
                yield chunk
        yield bytes(-size % BLOCK)
    for name, data in members.items():
        yield tar_header(name, kind=REGULAR, size=len(data), mtime_s=0)
        yield padded(data)
    yield bytes(2 * BLOCK)


def _outcome(top: Descriptor, exported: list[Exported]) -> Outcome:
    response = {"containerimage.digest": top.digest}
    if len(exported) == 1:
        response["containerimage.config.digest"] = exported[0].manifest.config.digest
    return Outcome(descriptor=top, response=response)
