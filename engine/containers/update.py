"""`docker update`: other limits and another restart policy for a container, at once where it runs.

What a request leaves at zero stays as it is. The rules on what excludes what are those of moby's `UpdateContainer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ...openapi.types.hostconfig import HostConfig, Resources, RestartPolicy
from ...openapi.types.model import given
from ..errors import Conflict, Error
from . import resources, restart_policy
from .validate import check_restart_policy

if TYPE_CHECKING:
    from ...openapi.types.requests import ContainerUpdateRequest
    from ..shim.client import Task
    from .container import Container
    from .context import Context

_UPDATED = (
    "blkio_weight", "blkio_weight_device", "blkio_device_read_bps", "blkio_device_write_bps", "blkio_device_read_iops",
    "blkio_device_write_iops", "cpu_shares", "nano_cpus", "cpu_period", "cpu_quota", "cpuset_cpus", "cpuset_mems",
    "memory", "memory_swap", "memory_reservation", "cpu_realtime_period", "cpu_realtime_runtime",
)  # fmt: skip
_CPU_CONFLICTS = (
    ("nano_cpus", "cpu_period", "Nano CPUs cannot be updated as CPU Period has already been set"),
    ("nano_cpus", "cpu_quota", "Nano CPUs cannot be updated as CPU Quota has already been set"),
    ("cpu_period", "nano_cpus", "CPU Period cannot be updated as NanoCPUs has already been set"),
    ("cpu_quota", "nano_cpus", "CPU Quota cannot be updated as NanoCPUs has already been set"),
)


def check(context: Context, request: ContainerUpdateRequest) -> list[str]:
    """Refuse what no container can have; return warnings about what this host cannot do."""
    warnings = resources.check(request, context.host, is_update=True)
    check_restart_policy(given(request.restart_policy, RestartPolicy()))
    return warnings


async def update(context: Context, container: Container, request: ContainerUpdateRequest) -> None:
    """Change the container, or nothing of it."""
    policy = given(request.restart_policy, RestartPolicy())
    async with container.lock:
        try:
            if container.removing or container.state.dead:
                raise Conflict('container is marked for removal and cannot be "update"')
            changed = _changed(container.record.host_config, request)
            restart_policy.refuse(container, policy)
            if container.task is not None and container.state.running and not container.state.restarting:
                await _apply(container.task, resources.to_oci(request))
            container.record.host_config = changed
            if policy.name:
                await restart_policy.change(container, policy)
        except Error as error:
            raise type(error)(f"Cannot update container {container.id}: {error}") from error
        context.registry.save(container)
    context.announce(container, "update")


async def _apply(task: Task, limits: dict[str, Any]) -> None:
    try:
        await task.update(limits)
    except Error as error:
        # The words before the reason are those of containerd's shim
        raise type(error)(f"runc did not terminate successfully: exit status 1: {error}") from error


def _changed(host_config: HostConfig, request: Resources) -> HostConfig:
    """Return the host config as it will be; raise Conflict where old and new do not go together."""
    for wanted, present, text in _CPU_CONFLICTS:
        if getattr(request, wanted) > 0 and getattr(host_config, present) > 0:
            raise Conflict(f"Conflicting options: {text}")
    if request.memory and request.memory > host_config.memory_swap and request.memory_swap == 0:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    new = {name: value for name in _UPDATED if (value := getattr(request, name))}
    if request.pids_limit is not None:
        new["pids_limit"] = request.pids_limit
    return msgspec.structs.replace(host_config, **new)
