"""The exporters local and tar: a result's files, sent to the client."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

from ... import errors
from ...ids import new_id
from ..context import Context
from ..frontend import Result
from ..progress import Progress
from ..request import Exporter, Outcome
from ..solver import Solver
from ..trees import Tree
from .telling import Telling


async def export_directory(solver: Solver, result: Result, exporter: Exporter, progress: Progress) -> Outcome:
    """Have the client write the files into a directory, one below it for each of several platforms."""
    telling = Telling(progress, "exporting to client directory")
    trees = await _trees(solver, result, exporter)
    async with AsyncExitStack() as undo:
        undo.enter_context(telling.told())
        if list(trees) == [""] and len(layers := await trees[""].paths(solver.context)) == 1:
            directory = Path(layers[0])  # nothing below it that marks in it could hide
        else:
            directory = solver.context.root / "temporary" / new_id()
            directory.mkdir(parents=True)
            undo.push_async_callback(asyncio.to_thread, shutil.rmtree, directory, ignore_errors=True)
            for name, tree in trees.items():
                await _copy(solver.context, tree, directory / name)
        with telling.part("copying files"):
            await solver.client.send_directory(directory, exporter.attributes)
    return Outcome()


async def export_tar(solver: Solver, result: Result, exporter: Exporter, progress: Progress) -> Outcome:
    """Have the client write a tar of the files."""
    telling = Telling(progress, "exporting to client tarball")
    trees = await _trees(solver, result, exporter)
    if list(trees) != [""]:
        raise errors.NotImplemented("the tar exporter takes a result of one platform")
    with telling.told(), telling.part("sending tarball"):
        await solver.client.send_stream(_packed(solver.context, trees[""]), exporter.attributes)
    return Outcome()


async def _trees(solver: Solver, result: Result, exporter: Exporter) -> dict[str, Tree]:
    """Return what goes where."""
    trees = {str(built.platform).replace("/", "_"): await solver.layers(built.step) for built in result.images}
    if exporter.flag("platform-split", default=len(trees) > 1):
        return trees
    if len(trees) != 1:
        raise errors.NotImplemented("results of several platforms are exported to a directory each")
    return {"": next(iter(trees.values()))}


async def _copy(context: Context, tree: Tree, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    await context.workers.run("fill", directory=str(directory), source=await tree.paths(context), path="/")


async def _packed(context: Context, tree: Tree) -> AsyncIterator[bytes]:
    upper, *lower = await tree.paths(context)
    pieces = context.workers.read("export", root={"bare": [{"upper": upper, "lower": lower}]})
    await anext(pieces)  # that it is ready
    async for piece in pieces:
        yield piece
