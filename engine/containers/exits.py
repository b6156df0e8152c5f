"""What a container's shim tells: its exit above all.

The exit is durable in the shim's hands and the log is complete before it comes here. Here it becomes the container's
state, the `die` event and the answer to those who wait. What takes longer, the bundle and AutoRemove, comes after the
shim has got its acknowledgement.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .. import errors
from ..shim.messages import (
    Detached,
    Event,
    ExecExited,
    Exited,
    GivenUp,
    HealthChanged,
    OutOfMemory,
    Probed,
    ProbeStarted,
    Started,
)
from ..times import SECOND_NS
from . import autostart, execs, health
from .failures import create_prefix, of_process
from .remove import auto_remove
from .start import start
from .volume_events import tell_mounted, tell_unmounted

if TYPE_CHECKING:
    from ..shim.client import Task
    from .container import Container
    from .context import Context

logger = logging.getLogger(__name__)


async def on_event(context: Context, task: Task, event: Event) -> None:
    """Take note of what a shim tells; events of a task come one after another."""
    container = context.registry.by_id(task.id)
    if container is None:
        logger.debug("%s: %s, but the container is gone", task.id, event)
        return
    match event:
        case Exited() | GivenUp() | Started():
            await _on_change(context, container, task, event)
        case ExecExited(exec_id, exit_code):
            execs.on_exit(context, container, exec_id, exit_code)
        case OutOfMemory():
            _on_oom(context, container)
        case Detached(exec_id=None):
            context.announce(container, "detach")
        case Detached(exec_id=exec_id):
            context.announce(container, "exec_detach", {"execID": exec_id or ""})
        case ProbeStarted():
            health.on_probe_started(context, container, event)
        case Probed():
            health.on_probed(context, container, event)
        case HealthChanged():
            health.on_changed(context, container, event)


async def _on_change(context: Context, container: Container, task: Task, event: Exited | GivenUp | Started) -> None:
    # A start that is still under way has the lock: its container can be over before it knows that it began.
    async with container.lock:
        if container.task is not task:
            return
        await settle(context, container, event)
    if container.task is not None:
        return
    if task.is_lost and autostart.is_wanted(container):
        count = container.record.restart_count + 1
        context.spawn(start(context, container, restart_count=count), name=f"{container.id}: restarting")
    else:
        context.spawn(clean_up(context, container), name=f"{container.id}: cleaning up")


async def settle(context: Context, container: Container, event: Event) -> None:
    """Make the end of a run, or the beginning of the next, the container's state and tell it; the caller has the lock.

    Between two runs the container keeps its place in the network, which the shim holds for it.
    """
    match event:
        case Exited():
            await _settle_exit(context, container, event)
        case GivenUp(error):
            state = container.state
            if error is not None:
                state.error = str(of_process(error, create_prefix(container.runtime)).error)
            container.set_exited(state.exit_code, finished_ns=state.finished_ns)
            await _stopped(context, container)
            container.tell_exit()
        case Started():
            tell_mounted(context, container)
            container.restarted(event)
            context.registry.save(container)
            context.announce(container, "start", time_ns=event.started_ns)
        case HealthChanged():
            health.on_changed(context, container, event)


async def _settle_exit(context: Context, container: Container, exit: Exited) -> None:
    state = container.state
    state.oom_killed = state.oom_killed or exit.oom
    if state.restarting:
        # The shim was killed while it waited for the restart: this exit is known.
        container.set_exited(state.exit_code, finished_ns=state.finished_ns)
        await _stopped(context, container)
        container.tell_exit()
        return
    ran_s = max(0, exit.exited_ns - (exit.started_ns or state.started_ns)) // SECOND_NS
    if exit.restarting:
        container.set_restarting(exit.exit_code, finished_ns=exit.exited_ns, restart_count=exit.restart_count)
        context.execs.forget_all(container)
        context.registry.save(container)
    else:
        container.set_exited(exit.exit_code, finished_ns=exit.exited_ns)
        await _stopped(context, container)
    tell_unmounted(context, container)
    attributes = {"exitCode": str(exit.exit_code), "execDuration": str(ran_s)}
    context.announce(container, "die", attributes, time_ns=exit.exited_ns)
    container.tell_exit()


async def _stopped(context: Context, container: Container) -> None:
    container.clear_network()
    context.execs.forget_all(container)
    context.registry.save(container)
    # Ports must be free before anyone knows that they should be.
    await context.networks.release(container.id)


async def clean_up(context: Context, container: Container) -> None:
    """Do what nobody waits for: volumes of plugins, AutoRemove, and the bundle."""
    async with container.lock:
        if not container.state.running:
            await context.volumes.attachments.detach(container.id)
    await auto_remove(context, container)
    async with container.lock:
        if not container.state.running:
            await delete_task(context, container.id)


async def delete_task(context: Context, container_id: str) -> None:
    """Wait until the shim has removed what it made, and remove the bundle."""
    try:
        await context.supervisor.delete(container_id)
    except errors.Error as error:
        logger.error("%s: %s", container_id, error)


def _on_oom(context: Context, container: Container) -> None:
    """A process was killed for want of memory; not necessarily the first one."""
    if container.state.running:
        container.state.oom_killed = True
        context.registry.save(container)
        context.announce(container, "oom")
