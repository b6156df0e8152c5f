"""`docker attach`: a client's connection is handed to the container's shim, or kept until there is one.

`docker run` attaches before it starts: such clients wait in `Container.pending`, and `start` passes them on with the
create message, so that they miss nothing. What the log already holds is sent from here first, without a gap: the
shim holds the client back from a known place in the log until it is released.
"""

from __future__ import annotations

import asyncio
import select
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import Conflict, InvalidArgument
from ..shim import detachkeys
from ..shim.messages import Attach
from .inspect import log_path
from .logfiles import LogFiles
from .logformat import Formatter, LogsOptions
from .logs import check_readable

if TYPE_CHECKING:
    from ..shim.client import Task
    from .container import Container
    from .context import Context


@dataclass(frozen=True, slots=True)
class AttachOptions:
    """What a client wants of a container's streams: which ones, what comes (`stream`) and what has been (`logs`).

    `framed` is for stdcopy headers where there is no terminal; a websocket does without.
    """

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    stream: bool = False
    logs: bool = False
    detach_keys: str = ""
    framed: bool = True

    def how(self, prefix: bytes, *, hold: bool = False) -> Attach:
        """Return it as the shim wants it."""
        return Attach(
            stdin=self.stdin,
            stdout=self.stdout,
            stderr=self.stderr,
            framed=self.framed,
            detach_keys=self.detach_keys,
            prefix=prefix,
            hold=hold,
        )


@dataclass(slots=True)
class PendingClient:
    """A client of a container that does not run yet."""

    client: socket.socket
    options: AttachOptions
    prefix: bytes

    def is_gone(self) -> bool:
        """Whether the other end is closed; a half-closed one only has no more input."""
        poll = select.poll()
        poll.register(self.client, 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


class Attachment:
    """A client that may attach. The API answers it first, then calls `hand_over` with its connection."""

    def __init__(self, context: Context, container: Container, options: AttachOptions) -> None:
        self.tty = container.tty
        self._context, self._container, self._options = context, container, options

    async def hand_over(self, client: socket.socket, prefix: bytes) -> None:
        """Take the client's connection, with the bytes that were already read from it."""
        container, options = self._container, self._options
        self._context.announce(container, "attach")
        was_running = container.task is not None
        if options.logs and not (was_running and options.stream):
            await self._replay(client)
        if not options.stream:
            client.close()
        elif container.task is None:
            add_pending(container, PendingClient(client, options, prefix))
        else:
            with client:
                await self._join(container.task, client, prefix, hold=options.logs and was_running)

    async def _join(self, task: Task, client: socket.socket, prefix: bytes, *, hold: bool) -> None:
        attached = await task.attach(client.fileno(), self._options.how(prefix, hold=hold))
        if hold:
            position = attached.log_position
            await self._replay(client, end=position.offset if position else 0)
            await task.attach_release(attached.attach_id)

    async def _replay(self, client: socket.socket, *, end: int | None = None) -> None:
        """Send what the log holds; a client that goes away meanwhile has no need of the rest."""
        wanted = LogsOptions(stdout=self._options.stdout, stderr=self._options.stderr)
        formatter = Formatter(wanted, framed=self._options.framed and not self.tty)
        path = str(log_path(self._context, self._container))
        files = await asyncio.to_thread(LogFiles, path, end=end)
        client.setblocking(False)
        try:
            while block := await asyncio.to_thread(files.read):
                await asyncio.get_running_loop().sock_sendall(client, formatter.format(block))
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            files.close()


def attach(context: Context, container: Container, ref: str, options: AttachOptions) -> Attachment:
    """Check everything that can be refused."""
    try:
        detachkeys.parse(options.detach_keys)
    except ValueError:
        raise InvalidArgument(f"Invalid detach keys ({options.detach_keys}) provided") from None
    if container.state.paused:
        raise Conflict(f"container {ref} is paused, unpause the container before attach")
    if container.state.restarting:
        raise Conflict(f"container {ref} is restarting, wait until the container is running")
    if options.logs:
        check_readable(container)
    return Attachment(context, container, options)


def add_pending(container: Container, client: PendingClient) -> None:
    """Keep a client until the container starts; those that went away meanwhile are let go."""
    for gone in [waiting for waiting in container.pending if waiting.is_gone()]:
        container.pending.remove(gone)
        gone.client.close()
    container.pending.append(client)


def drop_pending(container: Container) -> None:
    """Let go of the clients that waited for a start that does not come."""
    while container.pending:
        container.pending.pop().client.close()
