"""`docker kill`: a signal to a container's first process; SIGKILL also waits for the exit.

`stop` and `remove` use it too. The lock is held while the signal is sent, never while waiting.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

from .. import errors
from . import signals

if TYPE_CHECKING:
    from ...openapi.types.containers import ContainerWaitResponse
    from .container import Container
    from .context import Context

logger = logging.getLogger(__name__)

EXIT_LIMIT_S = 10.0


async def kill(context: Context, container: Container, number: int) -> None:
    """Send the signal; with SIGKILL return when the container has stopped."""
    if number != signal.SIGKILL:
        await send(context, container, number)
        return
    exit = container.waiters.add()
    try:
        await send(context, container, number)
        if not await arrives(exit, EXIT_LIMIT_S):
            raise errors.Internal("tried to kill container, but did not receive an exit event")
    finally:
        exit.cancel()


async def send(context: Context, container: Container, number: int) -> None:
    """Send a signal and tell of it; a paused container that is meant to end is thawed, so that it can.

    Whatever its restart policy, a container that is meant to end stays stopped.
    """
    async with container.lock:
        task = container.running_task()
        final = _is_meant_to_end(container, number)
        by_user = not context.is_shutting_down
        container.record.stopped_by_user = container.record.stopped_by_user or by_user
        context.registry.save(container)
        try:
            await task.kill(number, by_user=by_user, final=final)
        except (errors.NotFound, errors.Unavailable):
            # It has just ended, or its shim has; the exit event is on the way.
            logger.debug("%s: gone before signal %d", container.id, number)
            return
        if container.state.restarting:
            return  # it will not be restarted: there was nobody to signal
        context.announce(container, "kill", {"signal": str(number)})
        if container.state.paused and final:
            await task.resume()
            container.state.paused = False
            context.announce(container, "unpause")
        context.registry.save(container)


def _is_meant_to_end(container: Container, number: int) -> bool:
    stop_signal = container.record.config.stop_signal
    return not stop_signal or number in (signal.SIGKILL, signals.parse(stop_signal))


async def arrives(exit: asyncio.Future[ContainerWaitResponse], limit_s: float | None) -> bool:
    """Wait for an exit and return whether it came in time; without limit it always does."""
    done, _ = await asyncio.wait([exit], timeout=limit_s)
    return bool(done)
