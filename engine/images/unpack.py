"""The layers that one load or import is unpacking, at the same time and from the moment each has arrived."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from ..snapshots.compression import BZIP2, XZ
from ..snapshots.snapshotter import Snapshotter
from ..snapshots.workers import Arrival, Unpacked, Workers
from .config import Descriptor, layer_media_type
from .content import ContentStore

_PROGRESS_INTERVAL_S = 0.1


@dataclass(slots=True)
class LayerFile:
    """A layer that has arrived: a verified file in the ingest directory."""

    path: Path
    digest: str
    size: int


@dataclass(slots=True)
class _Job:
    file: LayerFile
    number: int
    plain: Path
    task: asyncio.Task[Unpacked]
    progress: int = 0
    is_kept: bool = False


class Unpacking:
    """Jobs by the digest of the file. `close` removes all that was not kept."""

    def __init__(self, content: ContentStore, snapshotter: Snapshotter, workers: Workers) -> None:
        self._content, self._snapshotter, self._workers = content, snapshotter, workers
        self._jobs: dict[str, _Job] = {}

    def start(self, file: LayerFile, arrival: Arrival | None = None) -> None:
        """Begin to unpack a file, which with `arrival` may still be on its way; harmless where that has begun."""
        if file.digest in self._jobs:
            return
        number = self._snapshotter.new_layer()
        plain = self._content.new_path()
        task = asyncio.ensure_future(
            self._workers.unpack(
                file.path,
                self._snapshotter.unpack_path(number),
                diff_id=file.digest,
                plain=plain,
                on_progress=lambda done: self._note(file.digest, done),
                arrival=arrival,
            )
        )
        self._jobs[file.digest] = _Job(file, number, plain, task)

    async def progress(self, digest: str) -> AsyncIterator[int]:
        """Tell, now and then, how many bytes of the file were read; end when it is unpacked."""
        job = self._jobs[digest]
        told = 0
        while not job.task.done():
            await asyncio.wait([job.task], timeout=_PROGRESS_INTERVAL_S)
            if job.progress > told and not job.task.done():
                told = job.progress
                yield told

    async def result(self, digest: str) -> Unpacked:
        return await asyncio.shield(self._jobs[digest].task)

    def adopt_blob(self, digest: str) -> Descriptor:
        """Move the unpacked file into the content store, in a compression that has a media type."""
        job = self._jobs[digest]
        unpacked = job.task.result()
        if unpacked.compression in (BZIP2, XZ):
            size = job.plain.stat().st_size
            self._content.adopt(job.plain, unpacked.diff_id)
            return Descriptor(layer_media_type(""), size, unpacked.diff_id)
        if job.file.path.exists():
            self._content.adopt(job.file.path, digest)
        return Descriptor(layer_media_type(unpacked.compression), job.file.size, digest)

    def keep(self, digest: str) -> None:
        """Commit the unpacked layer; where the same one came from elsewhere meanwhile, this one is left to `close`."""
        job = self._jobs[digest]
        unpacked = job.task.result()
        if not job.is_kept and self._snapshotter.layer(unpacked.diff_id) is None:
            self._snapshotter.commit(job.number, diff_id=unpacked.diff_id, size=unpacked.size)
            job.is_kept = True

    async def close(self) -> None:
        for job in self._jobs.values():
            job.task.cancel()
        await asyncio.gather(*(job.task for job in self._jobs.values()), return_exceptions=True)
        for job in self._jobs.values():
            job.plain.unlink(missing_ok=True)
            if not job.is_kept:
                await self._snapshotter.discard(job.number)

    def _note(self, digest: str, done: int) -> None:
        self._jobs[digest].progress = done
