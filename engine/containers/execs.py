"""`docker exec`: more processes in a running container, made first and started later, once.

The client of an exec is handed to the container's shim like an attached one, and told by the shim; only what goes
wrong at the start is written from here. Exit codes come back by the shim's event, before the client sees the end.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
from typing import TYPE_CHECKING

from ...openapi.types.execs import ExecInspectResponse, ExecProcessConfig
from ...openapi.types.requests import ExecCreateRequest, ExecStartRequest
from .. import apparmor, errors
from ..ids import new_id
from ..shim import detachkeys
from . import exec_process
from .attach import AttachOptions
from .failures import exec_prefix, of_process
from .logformat import STREAMS
from .pause import refuse_restarting
from .record import ExecRecord
from .seccomp_filter import filter_path

if TYPE_CHECKING:
    from .container import Container
    from .containers import Containers
    from .context import Context

logger = logging.getLogger(__name__)

LOST_EXIT_CODE = 126
"""What an exec has come to that was to start when the daemon died, and that the shim does not know."""


class Execs:
    """The service."""

    def __init__(self, containers: Containers) -> None:
        self._context = containers.context

    async def create(self, ref: str, request: ExecCreateRequest) -> str:
        """Make an exec in a running container; return its id."""
        container = self._context.registry.resolve(ref)
        _check_running(container, ref)
        if not request.cmd:
            raise errors.InvalidArgument("No exec command specified")
        if request.user:
            exec_process.check_user(container, request.user)
        if request.detach_keys and not _are_keys(request.detach_keys):
            raise errors.Internal(f"Invalid escape keys ({request.detach_keys}) provided")
        config = container.record.config
        record = ExecRecord(
            id=new_id(),
            container_id=container.id,
            entrypoint=request.cmd[0],
            arguments=request.cmd[1:],
            env=exec_process.variables(container, request.env or [], tty=request.tty),
            user=request.user or config.user,
            working_dir=request.working_dir or config.working_dir,
            privileged=request.privileged,
            tty=request.tty,
            console_size=request.console_size,
            open_stdin=request.attach_stdin,
            open_stdout=request.attach_stdout,
            open_stderr=request.attach_stderr,
            detach_keys=request.detach_keys,
        )
        self._context.execs.add(container, record)
        announce(self._context, container, record, f"exec_create: {_command(record)}")
        return record.id

    async def prepare(self, exec_id: str, request: ExecStartRequest) -> ExecAttachment:
        """Check what is refused with a status; the caller then hands its client over, which starts the exec."""
        record = self._startable(exec_id)
        return ExecAttachment(self._context, record, request)

    async def start_detached(self, exec_id: str, request: ExecStartRequest) -> None:
        record = self._startable(exec_id)
        await self._context.complete(start(self._context, record, request))

    async def resize(self, exec_id: str, height: int, width: int) -> None:
        record = self._startable(exec_id)
        await self._context.execs.wait_started(record)
        task = self._context.registry.resolve(record.container_id).running_task()
        await task.resize(height=height, width=width, exec_id=exec_id)

    async def inspect(self, exec_id: str) -> ExecInspectResponse:
        record = self._context.execs.get(exec_id)
        process = ExecProcessConfig(
            tty=record.tty, entrypoint=record.entrypoint, arguments=record.arguments, privileged=record.privileged
        )
        if record.user:
            process.user = record.user
        keys = detachkeys.parse(record.detach_keys) if record.detach_keys else b""
        return ExecInspectResponse(
            id=record.id,
            running=record.running,
            exit_code=record.exit_code,
            process_config=process,
            open_stdin=record.open_stdin,
            open_stderr=record.open_stderr,
            open_stdout=record.open_stdout,
            container_id=record.container_id,
            detach_keys=base64.b64encode(keys).decode(),
            pid=record.pid,
        )

    def _startable(self, exec_id: str) -> ExecRecord:
        record = self._context.execs.get(exec_id)
        container = self._context.registry.by_id(record.container_id)
        if container is None:
            raise errors.NotFound(f"No such container: {exec_id}")
        _check_running(container, container.id)
        return record


class ExecAttachment:
    """A client that may start an exec. The API answers it first, then calls `hand_over` with its connection."""

    def __init__(self, context: Context, record: ExecRecord, request: ExecStartRequest) -> None:
        self.tty = request.tty
        self._context, self._record, self._request = context, record, request

    async def hand_over(self, client: socket.socket, prefix: bytes) -> None:
        """Start the exec with the client on its streams; what fails is written to the client."""
        with client:
            try:
                await self._context.complete(start(self._context, self._record, self._request, client, prefix))
            except errors.Error as error:
                logger.info("%s: exec failed: %s", self._record.id, error)
                text = f"{error}\r\n".encode()
                header = b"" if self.tty else STREAMS["stdout"] + len(text).to_bytes(4, "big")
                client.setblocking(False)
                try:
                    await asyncio.get_running_loop().sock_sendall(client, header + text)
                except OSError:
                    pass  # the client went away


async def start(
    context: Context,
    record: ExecRecord,
    request: ExecStartRequest,
    client: socket.socket | None = None,
    prefix: bytes = b"",
) -> None:
    """Run an exec, once; where that fails, its exit code says why."""
    if record.exit_code is not None:
        raise errors.Conflict(f"exec command {record.id} has already run")
    if record.running:
        raise errors.Conflict(f"exec command {record.id} is already running")
    container = context.registry.resolve(record.container_id)
    record.running = True
    announce(context, container, record, f"exec_start: {_command(record)}")
    size = (request.console_size if request.tty else None) or record.console_size
    options = AttachOptions(
        stdin=record.open_stdin and client is not None,
        stdout=record.open_stdout,
        stderr=record.open_stderr,
        detach_keys=record.detach_keys,
        framed=not request.tty,
    )
    try:
        task = container.running_task()
        process = exec_process.build(context, container, record, size)
        if process.get("apparmorProfile") == apparmor.DEFAULT_PROFILE:
            await apparmor.ensure_default()
        pid = await task.exec(
            record.id,
            process,
            open_stdin=options.stdin,
            seccomp=await filter_path(context, container.record.host_config),
            client=None if client is None else (client.fileno(), options.how(prefix)),
        )
    except errors.Error as error:
        failure = of_process(error, exec_prefix(container.runtime))
        context.execs.set_ended(record, failure.exit_code)
        raise failure.error from error
    context.execs.set_started(record, pid)


def on_exit(context: Context, container: Container, exec_id: str, exit_code: int) -> None:
    """Take note of an exec's end."""
    try:
        record = context.execs.get(exec_id)
    except errors.NotFound:
        return  # its container's exit came first
    if record.exit_code is None:
        context.execs.set_ended(record, exit_code)
        announce(context, container, record, "exec_die", exitCode=str(exit_code))


def announce(context: Context, container: Container, record: ExecRecord, action: str, **attributes: str) -> None:
    context.announce(container, action, {"execID": record.id, **attributes})


def _command(record: ExecRecord) -> str:
    """As in dockerd's events: a space follows the program even without arguments."""
    return f"{record.entrypoint} {' '.join(record.arguments)}"


def _check_running(container: Container, ref: str) -> None:
    if not container.state.running:
        raise errors.Conflict(f"container {container.id} is not running")
    if container.state.paused:
        raise errors.Conflict(f"Container {ref} is paused, unpause the container before exec")
    refuse_restarting(container)


def _are_keys(text: str) -> bool:
    try:
        detachkeys.parse(text)
    except ValueError:
        return False
    return True
