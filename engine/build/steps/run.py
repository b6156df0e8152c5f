"""RUN: a command in a container of our own, confined as that of a `docker run`, that leaves nothing but its layer.

The container is known to nobody but the supervisor: the builder is told its exit, and its output comes by the same
connection that an attached client would have. All its processes end with the command.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ... import errors
from ...containers.spec import DEFAULT_PATH
from ...images.config import Platform
from ...networks.names import needs_names
from ...networks.network import EndpointRequest
from ...shim.messages import Attach, Event, Exited, TaskRequest
from ...snapshots.layer import tree_size
from .. import entitlements
from ..client import Client
from ..context import Context
from ..dockerfile.quoting import go_quote
from ..drafts import draft
from ..flights import Heard
from ..graph import BindMount, CacheMount, Run, Step
from ..progress import Log
from ..trees import Tree
from ..vertices import CommandFailure
from .confinement import HOSTNAME, build_spec, seccomp_of
from .mounts import Mounts

if TYPE_CHECKING:
    from ...networks.sandboxes import Sandbox
    from ...shim.client import Task

_NETWORKS = {"default": "bridge", "": "bridge", "sandbox": "bridge"}
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_QEMU = {"amd64": "x86_64", "arm64": "aarch64", "386": "i386"}
_STREAM_LIMIT = 1 << 20
_NO_SUCH_USER = ("unable to find user", "unable to find group", "uids and gids must be in range")


def check(context: Context, step: Run, allowed: frozenset[str]) -> list[str]:
    """Refuse what the client did not allow, and what this host cannot run; return the devices that the command gets."""
    entitlements.check_step(step, allowed)
    devices = entitlements.devices(step, allowed, context.containers.host.cdi_directories)
    if Platform.of_host().rank(step.platform) is None and not _has_emulator(step.platform):
        raise errors.InvalidArgument(
            f"cannot run a step for {step.platform} on {Platform.of_host()}: no emulator is registered for it"
        )
    return devices


def sources(step: Run) -> list[Step | None]:
    """Return the step of each mount, None for one without."""
    return [mount.source if isinstance(mount, BindMount | CacheMount) else None for mount in step.mounts]


async def run(
    context: Context,
    client: Client,
    step: Run,
    key: str,
    *,
    base: Tree,
    sources: Sequence[Tree],
    devices: Sequence[str],
    parents: Sequence[str],
    heard: Heard,
) -> None:
    """Run the command, and keep what it changed. Raises CommandFailure."""
    async with AsyncExitStack() as undo:
        made = await undo.enter_async_context(draft(context, base.layers, with_init=True))
        directory = context.containers.config.containers_dir / made.id
        private = context.containers.config.exec_root / "build" / made.id
        for each in (directory, private):
            each.mkdir(mode=0o710, parents=True)
            undo.callback(shutil.rmtree, each, ignore_errors=True)
        mounts = Mounts(context, client, undo, private)
        for mount, source in zip(step.mounts, sources, strict=True):
            await mounts.add(mount, source)
        sandbox = await context.networks.allocate(
            made.id,
            [EndpointRequest(_NETWORKS.get(step.network, step.network))],
            name=made.id[:12],
            hostname=step.hostname or HOSTNAME,
            upstream=context.networks.upstream(dns=(), options=()),
            is_told=False,
        )
        undo.push_async_callback(context.networks.release, made.id, is_told=False)
        undo.callback(sandbox.close)
        _write_files(context, step, directory, has_resolver=needs_names(sandbox.record))
        exit_code = await _Command(context, step, made.id, devices, heard).run(made.mounts, mounts, directory, sandbox)
        if exit_code:
            raise CommandFailure(_failed(step, f"exit code: {exit_code}"), exit_code)
        targets = [mount["destination"] for mount in mounts.oci]
        upper = made.directory
        if targets:
            lower = await context.views.paths(base.layers)
            await context.workers.run("clean", upper=str(upper), lower=lower, targets=targets)
        size = await asyncio.to_thread(tree_size, str(upper))
        await made.keep(key, below=base.layers, size=size, description=step.name, parents=parents)


class _Command:
    """One command's container."""

    def __init__(self, context: Context, step: Run, id: str, devices: Sequence[str], heard: Heard) -> None:
        self._context, self._step, self._id, self._heard = context, step, id, heard
        self._devices = devices
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self, rootfs: list[dict[str, object]], mounts: Mounts, directory: Path, sandbox: Sandbox) -> int:
        """Return the exit code. Where this raises, nothing of the container is left."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_STREAM_LIMIT)
            output = asyncio.ensure_future(self._read(reader))
            request = await self._request(rootfs, mounts, directory, sandbox, theirs.fileno())
            creating = asyncio.ensure_future(self._context.supervisor.create_task(request, listener=self._listen))
            try:
                await asyncio.shield(creating)
                theirs.close()
                sandbox.close()
                exit_code = await self._exit
                await output
                return exit_code
            except asyncio.CancelledError:
                # A shim that is just being made cannot be stopped; it is there in a moment, and can then.
                await asyncio.wait([creating])
                raise
            except errors.Error as error:
                return self._not_started(error)
            finally:
                writer.close()
                output.cancel()
                await self._context.supervisor.delete(self._id)

    async def _request(
        self, rootfs: list[dict[str, object]], mounts: Mounts, directory: Path, sandbox: Sandbox, client_fd: int
    ) -> TaskRequest:
        env = [*self._step.env, *mounts.env]
        if not any(variable.startswith("PATH=") for variable in env):
            env.insert(0, f"PATH={DEFAULT_PATH}")
        spec = await build_spec(self._context, self._step, self._id, directory, mounts.oci, env, self._devices)
        attach = Attach(stdout=True, stderr=True, framed=True)
        return TaskRequest(
            id=self._id,
            spec=spec,
            rootfs=rootfs,
            seccomp=await seccomp_of(self._context, self._step),
            fds={"netns": sandbox.netns_fd} if sandbox.netns_fd is not None else {},
            clients=[(client_fd, attach)],
            start=True,
        )

    async def _listen(self, task: Task, event: Event) -> None:
        if isinstance(event, Exited) and not self._exit.done():
            self._exit.set_result(event.exit_code)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Tell what the command writes, as it comes; see `stdcopy` for the frames."""
        while True:
            try:
                header = await reader.readexactly(8)
                data = await reader.readexactly(int.from_bytes(header[4:], "big"))
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return
            self._heard(Log("", header[0], data))

    def _not_started(self, error: errors.Error) -> int:
        """Tell why there was no command, as runc would have on its standard error."""
        if str(error).startswith(_NO_SUCH_USER):
            raise CommandFailure(_failed(self._step, str(error)), 1) from error
        text = f"runc run failed: unable to start container process: {error}\n"
        self._heard(Log("", 2, text.encode()))
        return 1


def _failed(step: Run, reason: str) -> str:
    return f"process {go_quote(' '.join(step.args))} did not complete successfully: {reason}"


def _write_files(context: Context, step: Run, directory: Path, *, has_resolver: bool) -> None:
    hostname = step.hostname or HOSTNAME
    lines = [f"127.0.0.1\tlocalhost {hostname}", "::1\tlocalhost ip6-localhost ip6-loopback"]
    for name, address in step.extra_hosts:
        addresses = context.networks.host_gateway_ips if address == "host-gateway" else (address,)
        lines += [f"{each}\t{name}" for each in addresses]
    (directory / "hosts").write_text("".join(f"{line}\n" for line in lines))
    mode = "host" if step.network == "host" else "bridge"
    text = context.networks.resolv_conf(mode, dns=(), search=(), options=(), has_resolver=has_resolver)
    (directory / "resolv.conf").write_text(text)


def _has_emulator(platform: Platform) -> bool:
    name = _QEMU.get(platform.architecture, platform.architecture)
    try:
        names = os.listdir(_BINFMT)
    except OSError:
        return False
    return any(each.startswith("qemu-") and each.removeprefix("qemu-").startswith(name) for each in names)
