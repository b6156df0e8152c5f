"""`docker cp`: attributes of a container's files, and archives of them in both directions.

The files are opened by a worker process (`fileworker.py`, `view.py`); here is decided what it opens. A container that
runs is never locked for it. One that does not run must not start while it is written to, since its root is then mounted
twice; as in dockerd its start waits.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from ...openapi.types.containers import PathStat
from ...openapi.types.model import given
from ..errors import NotFound
from ..runtime import state
from ..runtime.errors import RuntimeFailure
from ..times import rfc3339
from . import mounts, spec_mounts
from .mount_syntax import clean
from .volume_events import tell_mounted, tell_unmounted

if TYPE_CHECKING:
    from ..idmap import IdMap
    from .container import Container
    from .context import Context
    from .fileworkers import Archive
    from .mounts import ResolvedMount

_EPOCH = "1970-01-01T00:00:00Z"
_NETWORK_FILES = {"/etc/resolv.conf": "resolv.conf", "/etc/hostname": "hostname", "/etc/hosts": "hosts"}


async def stat_path(context: Context, container: Container, ref: str, path: str) -> PathStat:
    """Describe a file; a link is described itself."""
    async with _root(context, container) as root:
        with _named(ref, path):
            return _path_stat(await context.file_workers.run("stat", root=root, path=path))


async def read(
    context: Context, container: Container, ref: str, path: str, *, compression: str
) -> AsyncGenerator[Any, None]:
    """Yield what is said of a file, then the archive of it. All that can be refused is, before the first."""
    async with (
        _root(context, container) as root,
        aclosing(context.file_workers.read("pack", root=root, path=path, compression=compression)) as pieces,
    ):
        with _named(ref, path):
            yield _path_stat(await anext(pieces))
        context.announce(container, "archive-path")
        async for piece in pieces:
            yield piece


async def write(
    context: Context,
    container: Container,
    ref: str,
    path: str,
    archive: Archive,
    *,
    keeps_kinds: bool,
    copies_owner: bool,
) -> None:
    """Extract an archive into a directory. `copies_owner` gives all to the container's user, if it has one."""
    record = container.record
    async with _root(context, container, writable=True) as root:
        with _named(ref, path):
            await context.file_workers.write(
                "extract",
                archive,
                root=root,
                path=path,
                keeps_kinds=keeps_kinds,
                user=record.config.user if copies_owner else "",
                mounts=_writability(container, is_running="namespace" in root),
                read_only=record.host_config.readonly_rootfs,
            )
        context.announce(container, "extract-to-dir")


@asynccontextmanager
async def _root(context: Context, container: Container, *, writable: bool = False) -> AsyncIterator[dict[str, Any]]:
    """Give what the worker needs to open the container's files."""
    tell_mounted(context, container)
    try:
        with ExitStack() as opened:
            root = _running(context, container, opened)
            if root is not None:
                yield root
                return
        async with AsyncExitStack() as locked:
            if writable:
                await locked.enter_async_context(container.lock)
                root = _running(context, container, locked.enter_context(ExitStack()))
                if root is not None:
                    yield root
                    return
            borrow = mounts.borrowed(container.record.mounts, volumes=context.volumes, container_id=container.id)
            yield _stopped(context, container, await locked.enter_async_context(borrow), writable=writable)
    finally:
        tell_unmounted(context, container)


def _running(context: Context, container: Container, opened: ExitStack) -> dict[str, Any] | None:
    """Open a running container's root and mount namespace; None where it does not run."""
    if container.task is None or not container.state.running:
        return None
    try:
        root_fd = os.open(f"/proc/{container.task.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, root_fd)
        namespace_fd = os.open(f"/proc/{container.task.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        opened.callback(os.close, namespace_fd)
        # Now that both are open: was it still the container's process, and not another with its number?
        if not state.is_alive(state.read(str(container.task.bundle))):
            return None
    except (FileNotFoundError, ProcessLookupError, RuntimeFailure):
        return None
    return {
        "root": f"/proc/{os.getpid()}/fd/{root_fd}",
        "namespace": f"/proc/{os.getpid()}/fd/{namespace_fd}",
        "destinations": _destinations(container),
        "ids": _ids(container.id_map(context.host)),
        "mount_point": str(context.config.tasks_dir),
    }


def _ids(id_map: IdMap | None) -> dict[str, list[tuple[int, int, int]]] | None:
    """Return a running container's ids as the worker wants them."""
    if id_map is None:
        return None
    kinds = {"uids": id_map.uids, "gids": id_map.gids}
    return {kind: [(one.container_id, one.host_id, one.size) for one in ranges] for kind, ranges in kinds.items()}


def _destinations(container: Container) -> list[str]:
    """Return where the user's and the network's files are mounted; what is below another comes with that."""
    record = container.record
    found = {mount.destination for mount in record.mounts} | set(_NETWORK_FILES)
    found |= {clean(path) for path in given(record.host_config.tmpfs, {})}
    return [path for path in sorted(found) if not any(path.startswith(f"{other}/") for other in found)]


def _stopped(context: Context, container: Container, found: list[ResolvedMount], *, writable: bool) -> dict[str, Any]:
    directory = context.config.containers_dir / container.id
    files = {at: str(directory / name) for at, name in _NETWORK_FILES.items() if (directory / name).exists()}
    prepared = mounts.prepare(found, snapshots=context.snapshots)
    return {
        "layers": context.snapshots.mounts(container.id),
        "mounts": spec_mounts.build_for_files(prepared, files),
        "writable": writable,
        "mount_point": str(context.config.tasks_dir),
    }


def _writability(container: Container, *, is_running: bool) -> list[tuple[str, bool]]:
    """Return each mount with whether the container can write to it."""
    record = container.record
    found = [(mount.destination, mount.rw) for mount in record.mounts]
    if is_running:
        found += [
            (clean(path), "ro" not in text.split(",")) for path, text in given(record.host_config.tmpfs, {}).items()
        ]
    return found


@contextmanager
def _named(ref: str, path: str) -> Iterator[None]:
    """Say of a missing file what dockerd says, in the words that the client used."""
    try:
        yield
    except NotFound as error:
        raise NotFound(f"Could not find the file {path} in container {ref}") from error


def _path_stat(found: dict[str, Any]) -> PathStat:
    mtime = rfc3339(found["mtime"]) if found["mtime"] else _EPOCH
    return PathStat(name=found["name"], size=found["size"], mode=found["mode"], mtime=mtime, link_target=found["link"])
