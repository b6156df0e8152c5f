"""The exporters oci and docker: an image layout as a tar, sent to the client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec

from ... import errors
from ...images.config import INDEX, Descriptor
from ...images.references import Reference
from ...images.save import LAYOUT, blob_path, padded, tar_header
from ...snapshots.tar import BLOCK, DIRECTORY, REGULAR
from ...times import timestamp
from ..request import Outcome
from .job import Job, make, references
from .manifests import Blobs, Exported, IndexDocument

_CHUNK = 1 << 20


class _Item(msgspec.Struct, rename="pascal"):
    """An image in the manifest.json that `docker load` reads."""

    config: str
    repo_tags: list[str] | None
    layers: list[str]


async def export(job: Job) -> Outcome:
    """Make the documents, and send them in one stream."""
    exporter, names = job.exporter, list(references(job.exporter).values())
    is_docker = exporter.type == "docker"
    if is_docker and (len(job.result.images) != 1 or job.provenance is not None):
        raise errors.InvalidArgument("docker exporter does not currently support exporting manifest lists")
    async with AsyncExitStack() as undo:
        telling = undo.enter_context(job.told(f"exporting to {exporter.type} image format"))
        made = await make(job, telling, undo, oci=not is_docker)
        index = _index(made.top, names, int(time.time()) if job.epoch_s is None else job.epoch_s)
        members = {"index.json": msgspec.json.encode(index), "oci-layout": LAYOUT}
        if is_docker:
            members["manifest.json"] = msgspec.json.encode([_item(made.exported[0], names)])
        with telling.part("sending tarball"):
            await job.solver.client.send_stream(_archive(made.documents.blobs, members), exporter.attributes)
    named = {"image.name": ",".join(map(str, names))} if names else {}
    return Outcome(descriptor=made.top, response={**made.response, **named})


def _index(top: Descriptor, names: list[Reference], created_s: int) -> IndexDocument:
    """Return the layout's index: an entry for each name."""
    said = {"org.opencontainers.image.created": timestamp(created_s), **(top.annotations or {})}
    annotations = [
        {**said, "io.containerd.image.name": str(name), "org.opencontainers.image.ref.name": name.tag or ""}
        for name in names
    ]
    entries = [msgspec.structs.replace(top, annotations=each) for each in annotations or [said]]
    return IndexDocument(2, INDEX, entries)


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
