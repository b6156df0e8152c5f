"""The restart policies of containers that no shim watches: started when the daemon starts, as after a reboot.

As in dockerd `always` starts even what was stopped by hand, the others follow how the container ended. Where one
depends on another that is started too (its namespaces, volumes, links, or compose's `depends_on`), the other comes
first; all else is started in parallel. Where `depends_on` asks for more than a start, the dependent waits until the
other is healthy or has completed, or cannot any more: then it is started all the same, as its policy says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from .. import errors
from ..filters import Filters
from ..shim.restart import should_restart
from . import health, modes, mount_syntax
from .start import start

if TYPE_CHECKING:
    from .container import Container
    from .context import Context

logger = logging.getLogger(__name__)

AT_ONCE = 8
LIMIT_S = 30.0
"""How long the daemon's start waits for containers; those that take longer are waited for by nobody."""
CONDITION_LIMIT_S = 600.0
"""How long a container waits for another to be healthy or to complete."""
_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"
_DEPENDS_ON = "com.docker.compose.depends_on"
_HEALTHY, _COMPLETED = "service_healthy", "service_completed_successfully"


class _Need(NamedTuple):
    """Another container that is to be there first, and compose's condition where that is not all."""

    container: Container
    condition: str = ""


def is_wanted(container: Container) -> bool:
    """Whether the restart policy starts a stopped container again."""
    record, policy = container.record, container.record.host_config.restart_policy
    if container.removing or record.state.running or record.state.dead or not record.state.started_ns:
        return False
    return should_restart(
        policy.name,
        policy.maximum_retry_count,
        exit_code=record.state.exit_code,
        stopped_by_user=record.stopped_by_user,
        count=record.restart_count,
    )


async def start_all(context: Context) -> None:
    """Start what the policies want; what waits for a condition is not waited for."""
    wanted = {container.id: container for container in context.registry if is_wanted(container)}
    starts: dict[str, asyncio.Task[None]] = {}
    late: set[str] = set()
    places = asyncio.Semaphore(AT_ONCE)

    def begin(container: Container, followed: frozenset[str]) -> None:
        """Begin with those that it depends on; a circle is cut where it closes."""
        startable = wanted.keys() - followed
        needs = [
            need
            for need in _dependencies(context, container)
            if need.container.id in startable or (need.condition and need.container.state.running)
        ]
        for other, condition in needs:
            if other.id in startable and other.id not in starts:
                begin(other, followed | {other.id})
            if condition or other.id in late:
                late.add(container.id)
        waits = [(need, starts.get(need.container.id)) for need in needs]
        starts[container.id] = context.spawn(
            _start(context, container, waits, places), name=f"{container.id}: starting by its policy"
        )

    for container in wanted.values():
        if container.id not in starts:
            begin(container, frozenset((container.id,)))
    if prompt := [start for id, start in starts.items() if id not in late]:
        await asyncio.wait(prompt, timeout=LIMIT_S)


async def _start(
    context: Context,
    container: Container,
    waits: list[tuple[_Need, asyncio.Task[None] | None]],
    places: asyncio.Semaphore,
) -> None:
    started_ns = container.state.started_ns
    await asyncio.gather(*(_reach(context, container, need, begun) for need, begun in waits))
    async with places:
        if context.events.is_closed or not is_wanted(container) or container.state.started_ns != started_ns:
            return  # the daemon ends, or someone else was faster
        try:
            await start(context, container)
        except errors.Error as error:
            logger.error("%s: could not be started by its restart policy: %s", container.id, error)


async def _reach(context: Context, container: Container, need: _Need, begun: asyncio.Task[None] | None) -> None:
    """Wait for the other's start, and for its condition as long as that can come."""
    other, condition = need
    if begun is not None:
        await asyncio.wait([begun])
    if not condition:
        return
    try:
        async with asyncio.timeout(CONDITION_LIMIT_S):
            await _settle(context, need)
    except TimeoutError:
        pass
    if not (context.events.is_closed or _is_met(need)):
        logger.warning("%s: %s is not %s, starting all the same", container.id, other.id, condition)


async def _settle(context: Context, need: _Need) -> None:
    """Wait until the condition is met or cannot be met any more, or the daemon ends."""
    subscription = context.events.subscribe(Filters({"container": [need.container.id]}))
    try:
        while not context.events.is_closed and not _is_settled(need):
            await anext(subscription, None)
    finally:
        subscription.close()


def _is_settled(need: _Need) -> bool:
    state = need.container.state
    return not state.running or (need.condition == _HEALTHY and health.status(state) != health.STARTING)


def _is_met(need: _Need) -> bool:
    state = need.container.state
    if need.condition == _HEALTHY:
        return health.status(state) == health.HEALTHY
    return not state.running and state.exit_code == 0


def _dependencies(context: Context, container: Container) -> Iterator[_Need]:
    """Give what this one needs to be there first."""
    host_config = container.record.host_config
    refs = [
        modes.joined_container(mode) for mode in (host_config.network_mode, host_config.ipc_mode, host_config.pid_mode)
    ]
    refs += [link.partition(":")[0] for link in host_config.links or ()]
    refs += [mount_syntax.parse_volumes_from(text)[0] for text in host_config.volumes_from or ()]
    for ref in refs:
        if ref:
            try:
                yield _Need(context.registry.resolve(ref))
            except (errors.NotFound, errors.InvalidArgument):
                continue  # its start will say so
    labels = container.record.config.labels or {}
    services = dict(_conditions(labels.get(_DEPENDS_ON, "")))
    if services:
        for other in context.registry:
            others = other.record.config.labels or {}
            if others.get(_PROJECT) == labels.get(_PROJECT) and others.get(_SERVICE) in services:
                yield _Need(other, services[others[_SERVICE]])


def _conditions(label: str) -> Iterator[tuple[str, str]]:
    """Give the services of "db:service_healthy:false,…" with what is asked for beyond their start."""
    for entry in label.split(","):
        service, _, rest = entry.partition(":")
        condition = rest.partition(":")[0]
        if service:
            yield service, condition if condition in (_HEALTHY, _COMPLETED) else ""
