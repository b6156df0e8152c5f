"""Health checks as the daemon sees them: what the shim is asked to execute, and what clients are shown of the results.

The shim executes the probes and judges them; the daemon publishes their events and keeps the newest results for
`inspect` and `ps`. An unhealthy container is restarted where its label asks for that.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from ...openapi.types import containers as api
from ...openapi.types.config import HealthConfig
from ...openapi.types.model import given
from .. import booleans
from ..shim.messages import Health, HealthChanged, HealthCheck, Probed, ProbeStarted, UnhealthyRestart
from ..times import SECOND_NS, go_duration, rfc3339
from . import signals

if TYPE_CHECKING:
    from .container import Container
    from .context import Context
    from .record import ContainerRecord, State

RESTART_LABEL = "lightship.restart-on-unhealthy"
STARTING, HEALTHY, UNHEALTHY, NONE = "starting", "healthy", "unhealthy", "none"
_INTERVAL_NS = _TIMEOUT_NS = 30 * SECOND_NS
_START_INTERVAL_NS = 5 * SECOND_NS
_RETRIES = 3
_MAX_RESULTS = 5
_SHELL = ["/bin/sh", "-c"]


def check(record: ContainerRecord, *, stop_timeout_s: int) -> HealthCheck | None:
    """Return what the shim is to do; None where nothing is to be checked."""
    args = _command(record)
    if not args:
        return None
    config = given(record.config.healthcheck, HealthConfig())
    timeout_ns = given(config.timeout, 0) or _TIMEOUT_NS
    restart = None
    if _wants_restart(record):
        name = given(record.config.stop_signal, "")
        number = signals.parse(name) if name else signal.SIGTERM
        own = record.config.stop_timeout
        # A negative limit is none, for a user who can wait; here nobody would ever come.
        limit_s = max(0, stop_timeout_s if own is UNSET else own)
        restart = UnhealthyRestart(stop_signal=number, limit_s=limit_s)
    return HealthCheck(
        args=args,
        interval_s=(given(config.interval, 0) or _INTERVAL_NS) / SECOND_NS,
        timeout_s=timeout_ns / SECOND_NS,
        timeout_text=go_duration(timeout_ns),
        start_period_s=given(config.start_period, 0) / SECOND_NS,
        start_interval_s=(given(config.start_interval, 0) or _START_INTERVAL_NS) / SECOND_NS,
        retries=given(config.retries, 0) or _RETRIES,
        restart=restart,
    )


def _command(record: ContainerRecord) -> list[str]:
    test = given(given(record.config.healthcheck, HealthConfig()).test, [])
    match test:
        case ["CMD", *command]:
            return command
        case ["CMD-SHELL", *command] if command:
            return [*(given(record.config.shell, []) or _SHELL), *command]
    return []


def _wants_restart(record: ContainerRecord) -> bool:
    try:
        return booleans.parse((record.config.labels or {}).get(RESTART_LABEL, "false"))
    except ValueError:
        return False


def at_start(record: ContainerRecord) -> Health | None:
    """Return the health of a container that has just started; results of earlier runs are shown on."""
    if not _command(record):
        return None
    return Health(STARTING, log=record.state.health.log if record.state.health else [])


def at_end(health: Health | None) -> Health | None:
    """Return the health of a container that nobody checks any more; dockerd calls it unhealthy."""
    return health and msgspec.structs.replace(health, status=UNHEALTHY)


def set_paused(container: Container) -> None:
    """Nothing is checked in a frozen container."""
    container.state.health = at_end(container.state.health)


def status(state: State) -> str:
    return state.health.status if state.health else NONE


def suffix(state: State) -> str:
    """What stands behind `Up 5 minutes`."""
    if state.health is None:
        return ""
    return f" ({'health: starting' if state.health.status == STARTING else state.health.status})"


def shown(state: State) -> api.Health | None:
    """Return what `inspect` shows."""
    if state.health is None:
        return None
    log = [
        api.HealthcheckResult(
            start=rfc3339(result.start_ns),
            end=rfc3339(result.end_ns),
            exit_code=result.exit_code,
            output=result.output,
        )
        for result in state.health.log
    ]
    return api.Health(status=state.health.status, failing_streak=state.health.failing_streak, log=log)


def summary(state: State) -> api.ContainerSummaryHealth:
    return api.ContainerSummaryHealth(
        status=status(state), failing_streak=state.health.failing_streak if state.health else 0
    )


def on_probe_started(context: Context, container: Container, event: ProbeStarted) -> None:
    """Tell of the exec that a probe is, as dockerd does."""
    program, *arguments = _command(container.record)
    command = f"{program} {' '.join(arguments)}"
    attributes = {"execID": event.exec_id}
    context.announce(container, f"exec_create: {command}", attributes, time_ns=event.time_ns)
    context.announce(container, f"exec_start: {command}", attributes, time_ns=event.time_ns)


def on_probed(context: Context, container: Container, event: Probed) -> None:
    """Keep a result; it is in the shim too, so nothing is saved for it."""
    if event.exec_exit_code is not None:
        attributes = {"execID": event.exec_id, "exitCode": str(event.exec_exit_code)}
        context.announce(container, "exec_die", attributes, time_ns=event.result.end_ns)
    before = container.state.health
    log = [*(before.log if before else ())[1 - _MAX_RESULTS :], event.result]
    container.state.health = Health(event.status, event.failing_streak, log)


def on_changed(context: Context, container: Container, event: HealthChanged) -> None:
    """Tell of a new status."""
    context.announce(container, f"health_status: {event.status}", time_ns=event.time_ns)
    context.registry.save(container)
