"""`docker start`: addresses, files, an OCI spec, and a shim that runs it; undone whole where any of it fails.

One lock a container, no other: what takes time is waiting for the kernel, and other containers do not wait for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from .. import apparmor, errors
from ..shim.messages import Restart, TaskRequest
from . import bind_ids, health, links, modes, mounts, networking, runtimes, servers, sharing, spec_mounts
from .attach import drop_pending
from .failures import UNKNOWN, create_prefix, of_process
from .logsettings import log_settings
from .remove import auto_remove
from .seccomp_filter import filter_path
from .spec import Spec, SpecContext, build_spec
from .volume_events import tell_mounted, tell_unmounted

if TYPE_CHECKING:
    from ..networks.records import SandboxRecord
    from ..networks.sandboxes import Sandbox
    from ..shim.client import Task
    from .container import Container
    from .context import Context
    from .mounts import ResolvedMount

logger = logging.getLogger(__name__)


def check_startable(container: Container) -> None:
    """Raise where a start makes no sense; a paused container counts as running, so it is looked at first."""
    if container.state.paused:
        raise errors.Conflict("cannot start a paused container, try unpause instead")
    if container.state.running:
        raise errors.NotModified("container is already running")
    if container.removing or container.state.dead:
        raise errors.Conflict("container is marked for removal and cannot be started")


async def start(context: Context, container: Container, *, restart_count: int = 0) -> None:
    """Start the container; where another start came first there is nothing to do.

    `restart_count` is for a restart that no shim is left to make.
    """
    try:
        async with container.lock:
            if container.state.running:
                return
            check_startable(container)
            try:
                await _start(context, container, restart_count)
            except errors.Error as error:
                _note_failure(context, container, error)
                raise
            except Exception as error:  # a full disk, a fault of ours: whoever waits for the container must hear of it
                logger.exception("%s: start failed", container.id)
                failure = errors.Internal(f"failed to start container: {error}")
                _note_failure(context, container, failure)
                raise failure from error
    except errors.Error:
        await auto_remove(context, container)
        raise


async def _start(context: Context, container: Container, restart_count: int) -> None:
    await context.supervisor.delete(container.id)
    container.record.stopped_by_user = False
    container.record.restart_count = restart_count
    other = networking.joined(context, container)
    steps = [(time.monotonic_ns(), "the daemon begins", "")]
    async with AsyncExitStack() as undo:
        tell_mounted(context, container)
        undo.callback(tell_unmounted, context, container)
        if other is None:
            sandbox = await networking.allocate(context, container)
            undo.push_async_callback(context.networks.release, container.id)
            undo.callback(sandbox.close)
            steps.append((time.monotonic_ns(), "connected to its networks", ""))
        else:
            sandbox = None
        # Of the last run, where a plugin did not answer at its end.
        await context.volumes.attachments.detach(container.id)
        undo.push_async_callback(context.volumes.attachments.detach, container.id)
        attached = await mounts.attach(container.record.mounts, volumes=context.volumes, container_id=container.id)
        ready = mounts.prepare(await servers.with_addresses(attached), snapshots=context.snapshots)
        ready = await bind_ids.mapped(context, container, ready)
        spec = _spec(context, container, other, ready, sandbox=sandbox.record if sandbox else None)
        if spec["process"].get("apparmorProfile") == apparmor.DEFAULT_PROFILE:
            await apparmor.ensure_default()
        steps.append((time.monotonic_ns(), "described to the runtime", ""))
        task, started_ns = await _create_task(
            context, container, spec, sandbox, joins=_joins(context, container, other), steps=steps
        )
        undo.pop_all()
    if sandbox is not None:
        container.record.network = networking.settings(context, container, sandbox.record, pid=task.pid)
        sandbox.close()
    drop_pending(container)
    container.set_running(task, started_ns=started_ns)
    context.registry.save(container)
    context.announce(container, "start")


def _spec(
    context: Context,
    container: Container,
    other: Container | None,
    ready: Sequence[ResolvedMount],
    *,
    sandbox: SandboxRecord | None,
) -> Spec:
    """Write the files that the network needs, and describe the container to the runtime."""
    record = container.record
    directory = context.config.containers_dir / record.id
    directory.mkdir(mode=0o710, parents=True, exist_ok=True)
    if other is None:
        assert sandbox is not None  # who joins nobody has one
        networking.write_files(context, container, directory, sandbox=sandbox)
        files_of = directory
    else:
        record.config.hostname = other.record.config.hostname
        record.config.domainname = other.record.config.domainname
        files_of = context.config.containers_dir / other.id
    donor = sharing.ipc_donor(context, container)
    return build_spec(
        SpecContext(
            id=record.id,
            config=record.config,
            host_config=record.host_config,
            path=record.path,
            args=record.args,
            host=context.host,
            mounts=ready,
            resolv_conf_path=str(files_of / "resolv.conf"),
            hostname_path=str(files_of / "hostname"),
            hosts_path=str(files_of / "hosts"),
            network_namespace=f"/proc/{other.state.pid}/ns/net" if other else "",
            compiled_seccomp=runtimes.is_own(container.runtime),
            links_environment=links.environment(context, container),
            pid_namespace=networking.pid_namespace(context, container),
            ipc_namespace=f"/proc/{donor.state.pid}/ns/ipc" if donor else "",
        )
    )


def _joins(context: Context, container: Container, other: Container | None) -> dict[str, str]:
    """Return whose namespaces the shim is to find at each of its restarts."""
    found = {"network": other.id} if other else {}
    if ref := modes.joined_container(container.record.host_config.pid_mode):
        found["pid"] = context.registry.resolve(ref).id
    if donor := sharing.ipc_donor(context, container):
        found["ipc"] = donor.id
    if other and container.id_map(context.host):
        found["user"] = other.id
    return found


async def _create_task(
    context: Context,
    container: Container,
    spec: Spec,
    sandbox: Sandbox | None,
    *,
    joins: dict[str, str],
    steps: list[tuple[int, str, str]],
) -> tuple[Task, int]:
    record = container.record
    policy = record.host_config.restart_policy
    fds: dict[str, int] = {}
    if sandbox is not None:
        if sandbox.netns_fd is not None:
            fds["netns"] = sandbox.netns_fd
        fds |= {name: port.fileno() for name, port in sandbox.sockets.items()}
    request = TaskRequest(
        id=record.id,
        spec=spec,
        rootfs=_rootfs(context, container),
        runtime=runtimes.find(container.runtime, context.host),
        log=log_settings(context, container),
        seccomp=await filter_path(context, record.host_config),
        restart=Restart(policy.name, policy.maximum_retry_count, count=record.restart_count),
        health=health.check(record, stop_timeout_s=context.config.default_stop_timeout_s),
        joins=joins,
        open_stdin=record.config.open_stdin,
        stdin_once=record.config.stdin_once,
        fds=fds,
        proxied=sandbox.served if sandbox is not None else {},
        clients=[(pending.client.fileno(), pending.options.how(pending.prefix)) for pending in container.pending],
        start=True,
        trace=steps,
    )
    try:
        return await context.supervisor.create_task(request)
    except errors.Error as error:
        failure = of_process(error, create_prefix(container.runtime))
        container.state.exit_code = failure.exit_code
        raise failure.error from error


def _rootfs(context: Context, container: Container) -> list[dict[str, Any]]:
    """Return the mounts that make the container's root, its files by the ids that the container has."""
    mounts = context.snapshots.mounts(container.id)
    id_map = container.id_map(context.host)
    return [{**entry, **spec_mounts.mapped_layers(id_map)} for entry in mounts] if id_map else mounts


def _note_failure(context: Context, container: Container, error: errors.Error) -> None:
    logger.info("%s: start failed: %s", container.id, error)
    container.state.error = str(error)
    container.state.exit_code = container.state.exit_code or UNKNOWN
    container.record.started_before = True
    container.restarting_by_user = False
    context.registry.save(container)
    drop_pending(container)
