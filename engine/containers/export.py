"""`docker export`: a container's root as one archive, without volumes and without what the kernel shows in it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from ..errors import Conflict

if TYPE_CHECKING:
    from .container import Container
    from .context import Context


async def export(context: Context, container: Container) -> AsyncGenerator[bytes, None]:
    """Yield the archive. What can be refused is, before the first piece; that one is empty."""
    check_alive(container, "export")
    # A reader's mount of the same layers: what the container writes meanwhile may be in it or not.
    root = {"bare": context.snapshots.mounts(container.id)}
    async with aclosing(context.file_workers.read("export", root=root)) as pieces:
        await anext(pieces)
        yield b""
        async for piece in pieces:
            yield piece
    context.announce(container, "export")


def check_alive(container: Container, verb: str) -> None:
    """Refuse containers that are going or half gone."""
    if container.state.dead:
        raise Conflict(f"You cannot {verb} container {container.id} which is Dead")
    if container.removing:
        raise Conflict(f"You cannot {verb} container {container.id} which is being removed")
