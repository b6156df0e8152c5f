"""What a command sees beside its root: other results, caches, secrets, an agent's socket.

Each becomes an OCI mount. Secrets and sockets are in a directory of the step's own, on the exec root (a tmpfs on most
hosts), and gone with it.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from ... import errors
from ...ids import new_id
from ...snapshots.layer import tree_size
from ..cache import CACHE_MOUNT
from ..client import Client
from ..context import Context
from ..drafts import draft
from ..graph import BindMount, CacheMount, Mount, SecretMount, SshMount, TmpfsMount
from ..keys import key_of
from ..trees import EMPTY, Tree
from .local import directory_of, note

OciMount = dict[str, Any]
_AGENT_POLL_S = 0.005


class Mounts:
    """The mounts of one command; `undo` takes back what was made for them."""

    def __init__(self, context: Context, client: Client, undo: AsyncExitStack, directory: Path) -> None:
        self._context, self._client, self._undo, self._directory = context, client, undo, directory
        self.oci: list[OciMount] = []
        self.env: list[str] = []
        self._agents = 0

    async def add(self, mount: Mount, source: Tree) -> None:
        """Make a mount ready; `source` is the tree of one that has it."""
        match mount:
            case BindMount():
                await self._bind(mount, source)
            case CacheMount():
                await self._cache(mount, source)
            case TmpfsMount():
                size = [f"size={mount.size_bytes}"] if mount.size_bytes else []
                options = ["nosuid", "noexec", "nodev", *size]
                self._add(mount.target, "tmpfs", source="tmpfs", options=options)
            case SecretMount():
                await self._secret(mount)
            case SshMount():
                await self._agent(mount)

    def _add(self, target: str, kind: str, **fields: Any) -> None:
        self.oci.append({"destination": target, "type": kind, **fields})

    async def _bind(self, mount: BindMount, source: Tree) -> None:
        subpath = {"subpath": mount.path.strip("/")} if mount.path.strip("/") else {}
        if mount.is_readonly and source.directory is not None:
            self._add(mount.target, "bind", source=str(source.directory), options=["bind", "ro", "rprivate"], **subpath)
            return
        lower = await source.paths(self._context)
        if self._context.snapshots.driver.copies:
            await self._bind_copy(mount, lower, subpath)
            return
        # overlayfs wants two layers below where there is none above.
        lower.append(str(self._context.snapshots.empty_layer()))
        fields: dict[str, Any] = {"lower": lower, "source": "overlay", "options": ["index=off", "rprivate"], **subpath}
        if mount.is_readonly:
            fields["options"].append("ro")
        else:
            scratch = await self._undo.enter_async_context(draft(self._context, ()))
            fields |= {name: scratch.mounts[0][name] for name in ("upper", "work")}
        self._add(mount.target, self._context.snapshots.driver.filesystem, **fields)

    async def _bind_copy(self, mount: BindMount, paths: list[str], subpath: dict[str, str]) -> None:
        """Bind what can be read as it is, or a copy for the command to write to."""
        directory, words = paths[0], ["ro"]
        if not mount.is_readonly:
            scratch = await self._undo.enter_async_context(draft(self._context, ()))
            directory, words = str(scratch.directory), []
            await self._context.workers.run("fill", directory=directory, source=paths, path="/")
        self._add(mount.target, "bind", source=directory, options=["bind", *words, "rprivate"], **subpath)

    async def _cache(self, mount: CacheMount, source: Tree) -> None:
        key, directory = await self._cache_directory(mount)
        if not directory.exists():
            await self._new_cache(mount, source, directory)
        self._undo.push_async_callback(self._note_cache, mount, key, directory)
        options = ["bind", "rprivate", *(["ro"] if mount.is_readonly else [])]
        self._add(mount.target, "bind", source=str(directory), options=options)

    async def _cache_directory(self, mount: CacheMount) -> tuple[str, Path]:
        """Return the cache's directory; where it is private and in use, the next one of its name."""
        number = 0
        while True:
            key = key_of("cache mount", mount.id, *([number] if number else []))
            directory = directory_of(self._context, key)
            if mount.sharing == "locked":
                lock = self._context.cache_mount_locks.setdefault(key, asyncio.Lock())
                await self._undo.enter_async_context(lock)
            elif mount.sharing == "private":
                if directory in self._context.locked:
                    number += 1
                    continue
                self._context.locked.add(directory)
                self._undo.callback(self._context.locked.discard, directory)
            return key, directory

    async def _new_cache(self, mount: CacheMount, source: Tree, directory: Path) -> None:
        """Make the directory, with what is at its source; it counts once it has its name."""
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = directory.with_name(f"{directory.name}.{new_id()[:12]}")
        made.mkdir()
        try:
            if source != EMPTY:
                await self._context.workers.run(
                    "fill", directory=str(made), source=await source.paths(self._context), path=mount.path
                )
            os.chown(made, mount.uid, mount.gid)
            made.chmod(mount.mode)
            made.rename(directory)
        except OSError:
            if not directory.exists():
                raise
            await asyncio.to_thread(made.rmdir)

    async def _note_cache(self, mount: CacheMount, key: str, directory: Path) -> None:
        size = await asyncio.to_thread(tree_size, str(directory))
        note(
            self._context,
            key,
            description=f"cached mount {mount.target} with id {mount.id}",
            kind=CACHE_MOUNT,
            size=size,
        )

    async def _secret(self, mount: SecretMount) -> None:
        try:
            data = await self._client.secret(mount.id)
        except errors.NotFound as error:
            if mount.is_required:
                raise errors.NotFound(f"secret {mount.id}: not found") from error
            return
        if mount.env:
            self.env.append(f"{mount.env}={data.decode('utf-8', 'surrogateescape')}")
        if mount.target:
            path = self._directory / f"secret{len(self.oci)}"
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(data)
                os.fchown(file.fileno(), mount.uid, mount.gid)
                os.fchmod(file.fileno(), mount.mode)
            options = ["bind", "ro", "rprivate", "nosuid", "noexec", "nodev"]
            self._add(mount.target, "bind", source=str(path), options=options)

    async def _agent(self, mount: SshMount) -> None:
        path = self._directory / f"agent{len(self.oci)}"
        serving = asyncio.ensure_future(self._client.ssh_agent(mount.id, path))
        self._undo.push_async_callback(_ended, serving)
        while not path.exists():
            if serving.done():
                try:
                    await serving
                except errors.NotFound as error:
                    if mount.is_required:
                        raise errors.NotFound(f"unset ssh forward key {mount.id}") from error
                return
            await asyncio.sleep(_AGENT_POLL_S)
        os.chown(path, mount.uid, mount.gid)
        path.chmod(mount.mode)
        target = mount.target or f"/run/buildkit/ssh_agent.{self._agents}"
        if not self._agents:
            self.env.append(f"SSH_AUTH_SOCK={target}")
        self._agents += 1
        self._add(target, "bind", source=str(path), options=["bind", "rprivate", "nosuid", "noexec", "nodev"])


async def _ended(task: asyncio.Future[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
