"""Directories of the client's: brought over once a build, into what is there of an earlier one."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from ...snapshots.layer import tree_size
from ..cache import LOCAL, CacheRecord
from ..client import Client
from ..context import Context
from ..graph import LocalSource
from ..keys import key_of
from ..progress import Progress
from ..trees import Tree

_DIRECTORY = "local"


async def sync(context: Context, client: Client, source: LocalSource, undo: AsyncExitStack, progress: Progress) -> Tree:
    """Return the client's directory as it is now; nobody else changes it before the build has ended."""
    # The name tells the whole context from the one file of it that is looked at before.
    key = key_of(_DIRECTORY, client.shared_key, source.local, source.name) if client.shared_key else ""
    directory = directory_of(context, key) if key else None
    if directory is None or directory in context.locked:
        parent = context.root / "temporary"
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(dir=parent))
        directory.chmod(0o755)
        undo.push_async_callback(asyncio.to_thread, shutil.rmtree, directory, ignore_errors=True)
        await client.sync(source, directory, progress)
        return Tree(directory=directory)
    context.locked.add(directory)
    undo.callback(context.locked.discard, directory)
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    await client.sync(source, directory, progress)
    size = await asyncio.to_thread(tree_size, str(directory))
    note(context, key, description=f"local source for {source.local}", kind=LOCAL, size=size)
    return Tree(directory=directory, digests=digests_of(context, key))


def digests_of(context: Context, key: str) -> Path:
    """Return where the digests of a directory's files are remembered."""
    return directory_of(context, key).with_suffix(".digests")


def directory_of(context: Context, key: str) -> Path:
    """Return where the directory of a record without layers is."""
    return context.root / "directories" / key.removeprefix("sha256:")


def note(context: Context, key: str, *, description: str, kind: str, size: int) -> None:
    """Have a directory stand in the cache's records."""
    record = context.cache.get(key)
    if record is None:
        id = key.removeprefix("sha256:")[:25]
        context.cache.put(key, CacheRecord(id, [], description, kind, size, has_own_layer=False))
    else:
        record.size = size
        context.cache.use(key, is_changed=True)
