"""The builder: the service that both front doors call. One an engine, used from the event loop's thread.

`build` does all of it: the frontend makes a graph, the solver runs it, exporters make images and files of it. A gateway
client drives the same in pieces through `open`. A build ends with its task: cancelled, it leaves nothing.
"""

from __future__ import annotations

import asyncio
import base64
import builtins
import logging
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from .. import errors
from ..filters import Filters
from ..ids import new_id
from ..images.config import Platform
from . import entitlements
from .cache import Cache
from .caching.importing import imported
from .client import Client
from .collector import Collector
from .context import Context
from .exporting import attributes, export, provenance
from .exporting.telling import Telling
from .frontend import Request, ResolvedImage, Result
from .graph import Layout, Step
from .progress import Progress, Warning
from .request import BuildRequest, FileStat, Keep, Outcome, Solved, Usage
from .solver import Solver
from .steps import images, layouts
from .steps.local import digests_of, directory_of
from .views import Views

if TYPE_CHECKING:
    from ..engine import Engine

logger = logging.getLogger(__name__)


class Build:
    """A build under way; a frontend's `Bridge`. It ends with the `Builder.open` that made it."""

    def __init__(
        self,
        context: Context,
        references: dict[str, Step | None],
        request: BuildRequest,
        client: Client,
        progress: Progress,
    ) -> None:
        self._context, self._references, self._request = context, references, request
        self._client, self._progress = client, progress
        self._given: list[str] = []
        self._locations, self._has_imported = request.cache_from, False
        self._metadata: dict[tuple[str, Platform], ResolvedImage] = {}
        self._mode = request.request.options.get("image-resolve-mode", "")
        self.solver = Solver(context, client, progress, results=references, entitlements=request.entitlements)

    async def close(self) -> None:
        """Stop what runs; the references that were given out mean nothing any more."""
        for reference in self._given:
            del self._references[reference]
        await self.solver.close()

    async def solve(self, request: Request) -> Solved:
        """Have the frontend make a graph; nothing of it is run before somebody needs it."""
        self._mode = request.options.get("image-resolve-mode", self._mode)
        await self._import()
        result = await self._request.frontend(request, self)
        return Solved(result, tuple(self.refer(image.step) for image in result.images))

    async def _import(self) -> None:
        """Read the caches that the request names, once."""
        if not self._has_imported:
            self._has_imported = True
            found = [imported(self._context, self._client, location, self._progress) for location in self._locations]
            self.solver.imported += [each for each in await asyncio.gather(*found) if each is not None]

    def refer(self, step: Step | None) -> str:
        """Return a reference that stands for a step's result; empty for one without files."""
        if step is None:
            return ""
        reference = new_id()[:25]
        self._references[reference] = step
        self._given.append(reference)
        return reference

    async def evaluate(self, reference: str) -> None:
        """Run what a reference stands for."""
        await self.solver.tree(self._step(reference))

    async def export(self, result: Result) -> Outcome:
        """Run what the result needs, and give it to the request's exporters and caches."""
        return await export.export(self.solver, result, self._request, self._progress)

    def provenance(self, result: Result) -> dict[str, bytes]:
        """Return how a result was made, by platform: what the record of the build keeps."""
        return provenance.predicates(self.solver, self._request.request, result)

    async def read(self, reference: str, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return (a part of) a file of a result. Raises NotFound."""
        return await self._read(self._step(reference), path, offset=offset, length=length)

    async def stat(self, reference: str, path: str) -> FileStat:
        source = await self._paths(self._step(reference))
        return msgspec.convert(await self._context.workers.run("describe", source=source, path=path), FileStat)

    async def list(self, reference: str, path: str, *, pattern: str = "") -> Sequence[FileStat]:
        """Return what is in a directory of a result; `pattern` selects by base name."""
        source = await self._paths(self._step(reference))
        found = await self._context.workers.run("list", source=source, path=path, pattern=pattern)
        return msgspec.convert(found, builtins.list[FileStat])

    # The frontend's bridge

    async def resolve_image(self, reference: str, platform: Platform, *, layout: Layout | None = None) -> ResolvedImage:
        known = self._metadata.get((reference, platform))
        if known is not None:
            return known
        with Telling(self._progress, f"[internal] load metadata for {reference}").told():
            if layout is not None:
                resolved = await layouts.resolve(self._client, layout, reference, platform)
            else:
                resolved = await images.resolve(self._context, self._client, reference, platform, mode=self._mode)
        self._metadata[reference, platform] = resolved
        self.solver.resolved[resolved.digest_ref, platform] = resolved
        return resolved

    async def read_file(self, source: Step, path: str) -> bytes | None:
        try:
            return await self._read(source, path, offset=0, length=None)
        except errors.NotFound:
            return None

    async def is_directory(self, source: Step, path: str) -> bool:
        kind = await self._context.workers.run("kind", source=await self._paths(source), path=path)
        return bool(kind == "directory")

    def warn(self, warning: Warning) -> None:
        self._progress(warning)

    async def _read(self, step: Step | None, path: str, *, offset: int, length: int | None) -> bytes:
        source = await self._paths(step)
        data = await self._context.workers.run("read", source=source, path=path, offset=offset, length=length)
        return base64.b64decode(data)

    async def _paths(self, step: Step | None) -> builtins.list[str]:
        return await (await self.solver.tree(step)).paths(self._context)

    def _step(self, reference: str) -> Step | None:
        if not reference:
            return None
        try:
            return self._references[reference]
        except KeyError:
            raise errors.NotFound(f"no such ref: {reference}") from None


class Builder:
    """The service, `engine.builds`."""

    def __init__(self, engine: Engine) -> None:
        self.context = Context(
            root=engine.config.data_root / "build",
            images=engine.images,
            snapshots=engine.snapshots,
            networks=engine.networks,
            supervisor=engine.supervisor,
            containers=engine.containers.context,
            cache=Cache(engine.store, engine.snapshots),
            views=Views(engine.snapshots),
        )
        self._config = engine.config.builder
        self.collector = Collector(self.context, self._config)
        self._references: dict[str, Step | None] = {}
        self._running: set[asyncio.Task[object]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        engine.images.garbage.holders.append(self.context.cache.held)

    async def start(self) -> None:
        """Clear away what builds of a killed daemon left. Called once, before the first request."""
        self.context.cache.reconcile()
        await asyncio.to_thread(_clean, self.context)

    async def close(self) -> None:
        """Cancel what runs, and wait until it has cleaned up."""
        for task in self._running:
            task.cancel()
        self.collector.close()
        if self._running:
            await asyncio.wait(self._running)
        if self._ending:
            await asyncio.wait(self._ending)
        await self.context.finish()
        await self.context.workers.close()

    async def build(self, request: BuildRequest, client: Client, progress: Progress) -> Outcome:
        """Do all of a build. Raises the engine's errors, worded as BuildKit words them."""
        async with self.open(request, client, progress) as build:
            solved = await build.solve(request.request)
            return await build.export(solved.result)

    @asynccontextmanager
    async def open(self, request: BuildRequest, client: Client, progress: Progress) -> AsyncIterator[Build]:
        """Begin a build that the caller drives."""
        entitlements.check(request.entitlements, self._config.entitlements)
        attributes.check(request.exporters, request.cache_to)
        provenance.read(request.request.options)
        build = Build(self.context, self._references, request, client, progress)
        task = asyncio.current_task()
        assert task is not None  # this is a coroutine
        self._running.add(task)
        try:
            yield build
        finally:
            self._running.discard(task)
            # Whoever is cancelled once more meanwhile does not wait, but what is left to undo is undone.
            ending = asyncio.create_task(self._end(build))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            await asyncio.shield(ending)
            self.collector.collect_soon()

    async def _end(self, build: Build) -> None:
        await build.close()
        if not self._running:
            await self.context.views.drop()

    async def prune(self, filters: Filters, *, all: bool, keep: Keep) -> Sequence[Usage]:
        """Remove cached results that nothing uses; return them. Without `all` those stay that images have too."""
        removed = await self.collector.prune(filters, all=all, keep=keep)
        reclaimed = sum(usage.size for usage in removed)
        self.context.containers.events.publish("builder", "prune", "", {"reclaimed": str(reclaimed)})
        return removed

    async def disk_usage(self, filters: Filters) -> Sequence[Usage]:
        return self.collector.usage(filters)


def _clean(context: Context) -> None:
    """Remove directories that no record is of, and what commands saw of secrets."""
    for leftovers in (context.root / "temporary", context.containers.config.exec_root / "build"):
        shutil.rmtree(leftovers, ignore_errors=True)
    kept = [key for key, record in context.cache.records() if not record.has_own_layer]
    known = {path for key in kept for path in (directory_of(context, key), digests_of(context, key))}
    directories = context.root / "directories"
    for path in directories.iterdir() if directories.exists() else ():
        if path not in known:
            logger.warning("%s: half-made by a build, removed", path)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
