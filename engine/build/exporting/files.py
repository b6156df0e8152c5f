"""The exporters local and tar: a result's files, sent to the client."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from ... import errors
from ...ids import new_id
from ..context import Context
from ..frontend import BuiltImage
from ..request import Outcome
from ..trees import Tree
from .job import Job
from .provenance import Provenance


async def export_directory(job: Job) -> Outcome:
    """Have the client write the files into a directory, one below it for each of several platforms."""
    async with AsyncExitStack() as undo:
        telling = undo.enter_context(job.told("exporting to client directory"))
        directory = await _directory(job, undo)
        with telling.part("copying files"):
            await job.solver.client.send_directory(directory, job.exporter.attributes)
    return Outcome()


async def export_tar(job: Job) -> Outcome:
    """Have the client write a tar of the files."""
    context = job.solver.context
    async with AsyncExitStack() as undo:
        telling = undo.enter_context(job.told("exporting to client tarball"))
        tree = await _untouched(job)
        paths = await tree.paths(context) if tree is not None else [str(await _directory(job, undo))]
        with telling.part("sending tarball"):
            await job.solver.client.send_stream(_packed(context, paths), job.exporter.attributes)
    return Outcome()


def _is_split(job: Job) -> bool:
    """Whether each platform has a directory of its own."""
    several = len(job.result.images) > 1
    is_split = job.exporter.flag("platform-split", default=several)
    if several and not is_split:
        raise errors.NotImplemented("results of several platforms are exported to a directory each")
    return is_split


async def _untouched(job: Job) -> Tree | None:
    """Return the files where they are sent just as they are."""
    if _is_split(job) or job.provenance is not None or job.epoch_s is not None:
        return None
    return await job.solver.layers(job.result.images[0].step)


async def _directory(job: Job, undo: AsyncExitStack) -> Path:
    """Return a directory with all that is sent; one that is made for it goes with `undo`."""
    context = job.solver.context
    tree = await _untouched(job)
    if tree is not None and len(layers := await tree.paths(context)) == 1:
        return Path(layers[0])  # nothing below it that marks in it could hide
    directory = context.root / "temporary" / new_id()
    directory.mkdir(parents=True)
    undo.push_async_callback(asyncio.to_thread, shutil.rmtree, directory, ignore_errors=True)
    for built in job.result.images:
        target = directory / str(built.platform).replace("/", "_") if _is_split(job) else directory
        target.mkdir(exist_ok=True)
        source = await (await job.solver.layers(built.step)).paths(context)
        await context.workers.run("fill", directory=str(target), source=source, path="/")
        if job.provenance is not None:
            await _attest(job, job.provenance, built, target)
    if job.epoch_s is not None:
        await asyncio.to_thread(_date, directory, job.epoch_s)
    return directory


async def _attest(job: Job, provenance: Provenance, built: BuiltImage, directory: Path) -> None:
    """Put the provenance beside the files, which are what it speaks of."""
    name = job.exporter.attributes.get("attestation-prefix", "") + os.path.basename(provenance.filename)
    if "/" in name:
        raise errors.InvalidArgument(f"invalid name of an attestation: {name}")
    subjects = await asyncio.to_thread(lambda: list(_subjects(directory)))
    path = directory / name
    path.unlink(missing_ok=True)  # it may be a link of the result's
    path.touch(0o600)
    path.write_bytes(provenance.statement_of(job.solver, built.step, subjects))


def _subjects(directory: Path) -> Iterator[dict[str, Any]]:
    for parent, _, names in os.walk(directory):
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                yield {"name": str(path.relative_to(directory)), "digest": {"sha256": digest}}


def _date(directory: Path, epoch_s: int) -> None:
    """Have all files, and directories after what is in them, made at a moment."""
    for parent, directories, names in os.walk(directory, topdown=False):
        for name in (*names, *directories):
            os.utime(os.path.join(parent, name), (epoch_s, epoch_s), follow_symlinks=False)


async def _packed(context: Context, paths: list[str]) -> AsyncIterator[bytes]:
    upper, *lower = paths
    pieces = context.workers.read("export", root={"bare": [{"upper": upper, "lower": lower}]})
    await anext(pieces)  # that it is ready
    async for piece in pieces:
        yield piece
