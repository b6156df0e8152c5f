"""`docker stop` and `docker restart`: the stop signal, time to heed it, then SIGKILL."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

from msgspec import UNSET

from .. import errors
from . import signals
from .kill import arrives, kill, send
from .start import start

if TYPE_CHECKING:
    from .container import Container
    from .context import Context

logger = logging.getLogger(__name__)

_FAILED_SIGNAL_LIMIT_S = 2.0


async def stop(context: Context, container: Container, *, signal_name: str = "", timeout_s: int | None = None) -> None:
    """Stop a running container. A negative time limit waits for ever; None takes the container's own."""
    number = signals.parse(signal_name) if signal_name else stop_signal(container)
    limit_s = _limit(context, container) if timeout_s is None else timeout_s
    exit = container.waiters.add()
    try:
        try:
            await send(context, container, number)
        except errors.Error as error:
            logger.warning("%s: stop signal %d: %s", container.id, number, error)
            limit_s = _FAILED_SIGNAL_LIMIT_S if limit_s >= 0 else limit_s
        if container.state.running and not await arrives(exit, None if limit_s < 0 else limit_s):
            await _force(context, container)
    finally:
        exit.cancel()
    context.announce(container, "stop")


async def restart(context: Context, container: Container, *, signal_name: str, timeout_s: int | None) -> None:
    """Stop the container where it runs, and start it; AutoRemove does not strike in between."""
    try:
        if container.state.running:
            container.restarting_by_user = True
            await stop(context, container, signal_name=signal_name, timeout_s=timeout_s)
        await start(context, container)
    finally:
        container.restarting_by_user = False
    context.announce(container, "restart")


def stop_signal(container: Container) -> int:
    name = container.record.config.stop_signal
    return signals.parse(name) if name else signal.SIGTERM


def _limit(context: Context, container: Container) -> float:
    own = container.record.config.stop_timeout
    return context.config.default_stop_timeout_s if own is UNSET else own


async def _force(context: Context, container: Container) -> None:
    logger.info("%s: did not stop in time, killing it", container.id)
    try:
        await kill(context, container, signal.SIGKILL)
    except errors.Conflict:
        pass  # it stopped meanwhile
