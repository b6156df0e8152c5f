"""Runs a graph: each step once, independent ones side by side, and none that nobody asked for.

A step is known by a key (`keys.py`). Where the cache has a record of the key, its layers are the result; else what the
step needs is solved and it is run, once for all builds that want the same at this moment. What a COPY takes is keyed by
content: by definition first, where its source is known to be the same as before, else its source is solved and
digested. One solver a build.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from typing import Any, TypeVar

from .. import errors
from ..ids import new_id
from ..images.config import Platform
from ..images.content import digest_of
from .caching.importing import Imported
from .client import Client
from .context import Context
from .frontend import ResolvedImage
from .graph import (
    BindMount,
    CacheMount,
    Copy,
    GitSource,
    HttpSource,
    ImageSource,
    LocalSource,
    MakeDirectory,
    Mount,
    ResultSource,
    Run,
    Step,
    WriteFiles,
)
from .keys import image_key, key_of, own_definition
from .progress import Progress
from .steps import files, git, http, images, layouts, local, run
from .trees import EMPTY, Tree
from .vertices import KeyFailure, StepError, Told

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Solver:
    """Solves steps for one build; `results` are what `ResultSource` may name."""

    def __init__(
        self,
        context: Context,
        client: Client,
        progress: Progress,
        *,
        results: Mapping[str, Step | None],
        entitlements: frozenset[str],
    ) -> None:
        self.context, self.client, self._progress = context, client, progress
        self._results, self._entitlements = results, entitlements
        self.imported: list[Imported] = []
        self.resolved: dict[tuple[str, Platform], ResolvedImage] = {}
        self.keys: dict[str, str] = {}
        self.checksums: dict[str, str] = {}
        """What sources came to, by the digests of their steps: commits, and the digests of fetched files."""
        self.locals: set[str] = set()
        """The client's directories that were looked into, for a Dockerfile and ignore files too."""
        self._tasks: dict[tuple[str, str], asyncio.Task[Any]] = {}
        self._told: dict[str, Told] = {}
        self.id = new_id()
        self.started_ns = time.time_ns()
        self._undo = AsyncExitStack()
        self._pinning = ExitStack()
        self._pins = self._pinning.enter_context(context.images.garbage.pinned())
        self._used: list[str] = []
        self._pinning.enter_context(context.cache.in_use(self._used))

    async def close(self) -> None:
        """Stop what runs, and let go of what was held."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._undo.aclose()
        self._pinning.close()

    async def tree(self, step: Step | None) -> Tree:
        """Return a step's result. Raises StepError."""
        if step is None:
            return EMPTY
        tree: Tree = await self._once("tree", step, self._solve)
        return tree

    async def layers(self, step: Step | None) -> Tree:
        """Return a step's result as layers; a directory of a client's becomes one."""
        tree = await self.tree(step)
        if tree.directory is None or step is None:
            return tree
        return await self.tree(Copy(None, step, ("/",), "/", name=step.name))

    async def key(self, step: Step | None) -> str:
        """Return what a step is known by in the cache."""
        if step is None:
            return ""
        key: str = await self._once("key", step, self._key)
        self.keys[step.digest] = key
        return key

    def pin(self, tree: Tree) -> Tree:
        """Keep a result as long as the build lasts."""
        for layer in tree.layers:
            self.context.images.garbage.pin(self._pins, layer)
        return tree

    async def _once(self, kind: str, step: Step, work: Any) -> Any:
        """Do something about a step once in this build, whoever asks for it."""
        return await asyncio.shield(self._begun(kind, step, work))

    def _begun(self, kind: str, step: Step, work: Any) -> asyncio.Task[Any]:
        task = self._tasks.get((kind, step.digest))
        if task is None:
            task = asyncio.create_task(self._guarded(step, work(step)))
            self._tasks[kind, step.digest] = task
        return task

    async def _guarded(self, step: Step, work: Coroutine[Any, Any, T]) -> T:
        """Tell a failure of the step; that of an input was told already."""
        try:
            return await work
        except StepError:
            raise
        except errors.Error as error:
            failure = StepError(error, step)
            self._told_of(step).fail(failure.shown)
            raise failure from error
        except asyncio.CancelledError:
            if (told := self._told.get(step.digest)) is not None and not told.is_over:
                told.fail("context canceled")
            raise

    def _told_of(self, step: Step) -> Told:
        return self._told.setdefault(step.digest, Told(step, self._progress))

    # Keys

    async def _key(self, step: Step) -> str:
        if (linked := _linked(step)) is not None:
            self._told[linked.digest] = self._told_of(step)
            layer, base = await asyncio.gather(self.key(linked), self._input_key(step.inputs[0]))
            return key_of("linked", layer, base)
        match step:
            case ImageSource():
                resolved = await self.image(step)
                return image_key(resolved.config.diff_ids, digest_of(resolved.config_bytes))
            case LocalSource():
                tree = await self.tree(step)
                return key_of("local", await self._checksum(tree, ("/",)))
            case GitSource():
                commit = self.checksums[step.digest] = await git.resolve(self.context, self.client, step)
                return key_of("git", commit, own_definition(step))
            case HttpSource():
                checksum = self.checksums[step.digest] = (await self.tree(step)).checksum
                return key_of("http", checksum, step.filename)
            case ResultSource():
                return await self.key(self.result(step))
            case Copy():
                return await self._copy_key(step)
            case Run():
                return await self._run_key(step)
            case MakeDirectory() | WriteFiles():
                return key_of(own_definition(step), await self._input_key(step.base))
        raise errors.NotImplemented(f"steps of kind {type(step).__name__} are not supported")

    async def _copy_key(self, step: Copy) -> str:
        """By what is copied; what by definition is the same as before is not looked at again."""
        has_key = not (step.source is None or isinstance(step.source, LocalSource | HttpSource))
        base, source = await asyncio.gather(
            self._input_key(step.base),
            # An imported cache may have the copy without its source.
            (self.key if self.imported else self._input_key)(step.source if has_key else None),
        )
        own = own_definition(step)
        if step.source is None:
            return key_of(own, base, "")
        if not has_key or self._is_fresh(step.source):
            known = ""
        else:
            known = key_of("by definition", own, base, source)
            for target in (self.context.cache.alias(known), *(each.alias(known) for each in self.imported)):
                if target is not None and self._has(target):
                    return target
        tree = await self.tree(step.source)
        self._told_of(step)
        content = await self._checksum(
            tree, step.paths, exclude=step.exclude, keeps_parents=step.keeps_parents, needs_match=step.needs_match
        )
        key = key_of(own, base, content)
        if known:
            self.context.cache.set_alias(known, key)
        return key

    async def _run_key(self, step: Run) -> str:
        base, *mounts = await asyncio.gather(
            self._input_key(step.base), *(self._mount_key(mount) for mount in step.mounts)
        )
        return key_of(own_definition(step), base, mounts)

    async def _mount_key(self, mount: Mount) -> str:
        if not isinstance(mount, BindMount | CacheMount) or mount.source is None:
            return ""
        if isinstance(mount.source, LocalSource) and mount.path != "/":
            return await self._checksum(await self.tree(mount.source), (mount.path,))
        return await self._input_key(mount.source)

    async def _input_key(self, step: Step | None) -> str:
        """Return an input's key, and begin with what has to be run in any case: it takes longer than other keys."""
        key = await self.key(step)
        if isinstance(step, Run | Copy | MakeDirectory | WriteFiles) and (self._is_fresh(step) or not self._has(key)):
            self._begun("tree", step, self._solve)
        return key

    async def _checksum(self, tree: Tree, paths: tuple[str, ...], **selection: Any) -> str:
        selection = {"exclude": (), "keeps_parents": False, "needs_match": True, **selection}
        try:
            source = await tree.paths(self.context)
            digest: str = await self.context.workers.run(
                "checksum", source=source, paths=paths, digests=str(tree.digests or ""), **selection
            )
        except errors.NotFound as error:
            shown = f"failed to calculate checksum of ref {new_id()[:25]}::{new_id()[:25]}: {error}"
            raise KeyFailure(shown) from error
        return digest

    def _is_fresh(self, step: Step | None) -> bool:
        """Whether a step's result must not come from the cache: its own, or what it stands on."""
        while step is not None:
            if step.is_cacheless and not isinstance(step, ImageSource | LocalSource):
                return True
            step = step.base if isinstance(step, Run | Copy | MakeDirectory | WriteFiles) else None
        return False

    def result(self, step: ResultSource) -> Step | None:
        """Return what an earlier build made. Raises NotFound."""
        try:
            return self._results[step.result]
        except KeyError:
            raise errors.NotFound(f"no such result: {step.result}") from None

    # Results

    async def _solve(self, step: Step) -> Tree:
        if (linked := _linked(step)) is not None:
            self._told[linked.digest] = self._told_of(step)
            base, layer = await asyncio.gather(self.layers(step.inputs[0]), self.layers(linked))
            return Tree(base.layers + layer.layers)
        match step:
            case ResultSource():
                return await self.tree(self.result(step))
            case LocalSource():
                self.locals.add(step.local)
                return await self._source(step, local.sync(self.context, self.client, step, self._undo, self._progress))
            case ImageSource():
                return await self._image(step)
            case HttpSource():
                return self.pin(await self._source(step, http.fetch(self.context, self.client, step)))
        key = await self.key(step)
        told = self._told_of(step)
        if not self._is_fresh(step) and (found := await self._known(key)) is not None:
            self._tell_inputs(step)
            told.cached()
            return found
        return await self._run(step, key, told)

    def _has(self, key: str) -> bool:
        return self.context.cache.get(key) is not None or any(each.has(key) for each in self.imported)

    async def _known(self, key: str) -> Tree | None:
        """Return a result that is here, or that an imported cache has; one that does not come is as good as none."""
        if self.context.cache.get(key) is None:
            for imported in self.imported:
                if imported.has(key):
                    try:
                        await imported.fetch(self.context, key)
                        break
                    except errors.Error as error:
                        logger.warning("a cached result could not be fetched: %s", error)
        return self._cached(key)

    def _cached(self, key: str) -> Tree | None:
        record = self.context.cache.get(key)
        if record is None:
            return None
        self.context.cache.use(key)
        self.context.cache.note_use(self._used, key)
        return self.pin(Tree(tuple(record.layers)))

    async def _run(self, step: Step, key: str, told: Told) -> Tree:
        flight_key = f"{key} {self.id}" if self._is_fresh(step) else key
        work = await self._work(step, key)
        self.context.cache.note_use(self._used, key)  # a prune may run before this goes on
        told.start()
        await self.context.flights.join(flight_key, work, told.hear)
        told.complete()
        tree = self._cached(key)
        assert tree is not None  # what was run has a record
        return tree

    async def _work(self, step: Step, key: str) -> Any:
        """Solve what a step needs, and return what then makes its record."""
        match step:
            case Copy():
                base, source = await asyncio.gather(self.layers(step.base), self.tree(step.source))
                parents = await self._parents(step)
                return lambda heard: files.copy(self.context, step, key, base=base, source=source, parents=parents)
            case WriteFiles() | MakeDirectory():
                base = await self.layers(step.base)
                parents = await self._parents(step)
                return lambda heard: files.make(self.context, step, key, base=base, parents=parents)
            case GitSource():
                return lambda heard: git.check_out(self.context, self.client, step, key, heard)
            case Run():
                devices = run.check(self.context, step, self._entitlements)
                base, *sources = await asyncio.gather(
                    self.layers(step.base), *(self.tree(source) for source in run.sources(step))
                )
                parents = await self._parents(step)
                return lambda heard: run.run(
                    self.context, self.client, step, key,
                    base=base, sources=sources, devices=devices, parents=parents, heard=heard,
                )  # fmt: skip
        raise AssertionError(f"{type(step).__name__} is no step that is run")

    async def _parents(self, step: Step) -> list[str]:
        """Return the records of what a step was made from, which are there once that is solved."""
        keys = [await self.key(each) for each in step.inputs if not isinstance(each, LocalSource)]
        return [key for key in dict.fromkeys(keys) if self.context.cache.get(key) is not None]

    def _tell_inputs(self, step: Step) -> None:
        """Tell the steps below a cached one, none of which was solved, as cached too."""
        for each in step.inputs:
            told = self._told_of(each)
            if told.is_over or ("tree", each.digest) in self._tasks:
                continue
            self._tell_inputs(each)
            told.cached()

    # Sources

    async def _source(self, step: Step, work: Coroutine[Any, Any, Tree]) -> Tree:
        told = self._told_of(step)
        told.start()
        tree = await work
        told.complete()
        return tree

    async def image(self, step: ImageSource) -> ResolvedImage:
        """Return what a reference with a digest stands for."""
        key = (step.digest_ref, step.platform)
        if key not in self.resolved:
            if step.layout is not None:
                self.resolved[key] = await layouts.resolve(self.client, step.layout, *key)
            else:
                self.resolved[key] = await images.resolve(self.context, self.client, *key)
        return self.resolved[key]

    async def _image(self, step: ImageSource) -> Tree:
        resolved = await self.image(step)
        tree = self.pin(Tree(tuple(resolved.config.diff_ids)))
        told = self._told_of(step)
        told.start()
        if not images.is_here(self.context, resolved):
            pull = images.pull if step.layout is None else layouts.pull
            work = lambda heard: pull(self.context, self.client, step, resolved, heard)  # noqa: E731
            await self.context.flights.join(f"image {step.digest_ref} {step.platform}", work, told.hear)
        told.complete()
        return tree


def _linked(step: Step) -> Copy | WriteFiles | None:
    """Return what makes the layer of a linked copy by itself; names of owners are those of the base, and bind it."""
    if not isinstance(step, Copy | WriteFiles) or not step.is_link or step.base is None:
        return None
    names = (step.owner.user, step.owner.group) if step.owner is not None else ()
    if any(name and not name.isdecimal() for name in names):
        return None
    return replace(step, base=None, is_link=False)
